// The survivors of the form `window`, group by group, in the slots of pairs.
#include "packed/window/groups.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "common/bit_walk.hpp"

namespace dcz {
namespace {

// A survivor is an element of the vector in blocks: 63 columns and a zero. This one is behind all of them.
constexpr std::int32_t kNoElement = std::numeric_limits<std::int32_t>::max();

constexpr std::int32_t element_of(std::uint64_t column) {
  return static_cast<std::int32_t>(column + column / kBlockColumns);
}

template <WindowLayout kLayout, unsigned kCodeBits>
class GroupPacker {
 public:
  GroupPacker(const PackedHeader& header, const Matrix& matrix, const RowOrder& rows)
      : shape_(header), matrix_(matrix), rows_(rows) {}

  WindowGroups run(std::size_t first, std::size_t last) {
    std::size_t survivors = 0;
    for (std::size_t group = first; group < last; ++group) survivors += survivors_of(group);
    packed_.stream.reserve(2 * survivors);
    for (std::size_t group = first; group < last; ++group) {
      const std::size_t before = packed_.starts.size();
      load(group);
      while (earliest() != kNoElement) add_pair();
      packed_.pairs.push_back(static_cast<std::uint32_t>((packed_.starts.size() - before) / kWindows));
    }
    return std::move(packed_);
  }

 private:
  static constexpr bool kOneWindow = kLayout == WindowLayout::one_window, kFifths = kCodeBits == 5;
  static constexpr std::size_t kWindows = kOneWindow ? 1 : 2, kRows = 2 * kStepRows / kWindows;
  static constexpr std::size_t kPairBytes = kCodeBits == 8 ? 256 : 192;
  static constexpr std::size_t kAtOnce = 4;
  static constexpr std::int32_t kReach = (kOneWindow ? 4 : 2) * kBlockElements;

  std::size_t rows_in(std::size_t group) const { return std::min(kRows, rows_.order.size() - group * kRows); }

  std::size_t survivors_of(std::size_t group) const {
    std::size_t sum = 0;
    for (std::size_t lane = 0; lane < rows_in(group); ++lane) {
      const std::uint32_t row = rows_.order[group * kRows + lane];
      sum += static_cast<std::size_t>(rows_.before[row + 1] - rows_.before[row]);
    }
    return sum;
  }

  // Finds the survivors of a group's rows. Behind those of each row there is kNoElement.
  void load(std::size_t group) {
    elements_.resize(survivors_of(group) + kRows + kAtOnce);
    std::int32_t* next = elements_.data();
    for (std::size_t lane = 0; lane < kRows; ++lane) {
      next_[lane] = next;
      if (lane < rows_in(group)) {
        const std::uint32_t row = rows_.order[group * kRows + lane];
        codes_[lane] = matrix_.codes.data() + rows_.before[row];
        const std::uint64_t begin = row * matrix_.columns;
        each_word(matrix_.bitmap, begin, begin + matrix_.columns, [&](std::uint64_t word, std::uint64_t at) {
          // four at once, since a branch for each would often be mispredicted; the next row replaces those too many
          std::int32_t* const end = next + count_ones(word);
          for (std::int32_t* found = next; found < end; found += kAtOnce) {
            for (std::size_t i = 0; i < kAtOnce; ++i, word &= word - 1) {
              found[i] = element_of(at + static_cast<unsigned>(std::countr_zero(word)) - begin);
            }
          }
          next = end;
        });
      }
      *next++ = kNoElement;
      heads_[lane] = *next_[lane];
    }
  }

  // The first element yet to pack.
  std::int32_t earliest() const { return *std::ranges::min_element(heads_); }

  void add_pair() {
    const std::size_t at = packed_.stream.size();
    packed_.stream.resize(at + kPairBytes, 0);
    std::uint8_t* const pair = packed_.stream.data() + at;
    std::fill_n(pair, 2 * kStepSlots, kNothing);
    if constexpr (kOneWindow && kFifths) packed_.fifths.resize(packed_.fifths.size() + 2, 0);
    for (std::size_t window = 0; window < kWindows; ++window) add_window(pair, window);
  }

  // Fills four slots of each row, as far as the window reaches.
  void add_window(std::uint8_t* pair, std::size_t window) {
    const std::int32_t first = earliest();
    const std::size_t block = first == kNoElement
                                  ? packed_.starts.back()  // the second window of a last pair
                                  : std::min(static_cast<std::size_t>(first) / kBlockElements, shape_.last_start);
    packed_.starts.push_back(static_cast<std::uint16_t>(block));
    const auto begin = static_cast<std::int32_t>(block * kBlockElements), end = begin + kReach;
    for (std::size_t lane = 0; lane < kRows; ++lane) {
      std::int32_t element = heads_[lane];
      for (std::size_t slot = 0; slot < 4 && element < end; ++slot) {
        put_slot(pair, window + lane / kStepRows, lane % kStepRows, slot, static_cast<std::uint8_t>(element - begin),
                 *codes_[lane]++);
        element = *++next_[lane];
      }
      heads_[lane] = element;
    }
  }

  void put_slot(std::uint8_t* pair, std::size_t step, std::size_t row, std::size_t slot, std::uint8_t place,
                std::uint8_t code) {
    std::uint8_t *const places = pair + step * kStepSlots, *const codes = pair + 2 * kStepSlots;
    const std::size_t at = 4 * row + slot;
    if constexpr (kCodeBits == 8) {
      codes[step * kStepSlots + at] = code;
    } else {
      codes[at] = static_cast<std::uint8_t>(codes[at] | (code & 15) << (4 * step));
    }
    std::uint8_t& found = places[place_of(kLayout, row, slot)];
    if constexpr (kOneWindow) {
      found = place;
      if constexpr (kFifths) packed_.fifths[packed_.fifths.size() - 2 + step] |= std::uint64_t{code} >> 4 << at;
    } else {
      // the top bit may be another slot's fifth bit
      found = static_cast<std::uint8_t>((found & 0x80) | place);
      if constexpr (kFifths) places[at] = static_cast<std::uint8_t>(places[at] | code >> 4 << 7);
    }
  }

  const WindowShape shape_;
  const Matrix& matrix_;
  const RowOrder& rows_;
  WindowGroups packed_;
  std::vector<std::int32_t> elements_;
  std::array<std::int32_t, kRows> heads_{};
  std::array<const std::int32_t*, kRows> next_{};
  std::array<const std::uint8_t*, kRows> codes_{};
};

template <WindowLayout kLayout>
WindowGroups pack_layout(const PackedHeader& header, const Matrix& matrix, const RowOrder& rows, std::size_t first,
                         std::size_t last) {
  WindowGroups found;
  by_code_bits(header, [&](auto bits) {
    found = GroupPacker<kLayout, decltype(bits)::value>(header, matrix, rows).run(first, last);
  });
  return found;
}

}  // namespace

WindowGroups pack_groups(const PackedHeader& header, const Matrix& matrix, const RowOrder& rows, std::size_t first,
                         std::size_t last) {
  switch (static_cast<WindowLayout>(header.layout)) {
    case WindowLayout::by_slot:
      return pack_layout<WindowLayout::by_slot>(header, matrix, rows, first, last);
    case WindowLayout::one_window:
      return pack_layout<WindowLayout::one_window>(header, matrix, rows, first, last);
    // digits24 has its places in the same order
    default:
      return pack_layout<WindowLayout::by_row>(header, matrix, rows, first, last);
  }
}

}  // namespace dcz
