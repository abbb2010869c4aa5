// The survivors of the form `window`, group by group, in the slots of pairs.
#include "packed/window/groups.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "common/bit_walk.hpp"
#include "common/bits.hpp"

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
      while (earliest_ != kNoElement) add_pair();
      packed_.pairs.push_back(static_cast<std::uint32_t>((packed_.starts.size() - before) / kWindows));
    }
    return std::move(packed_);
  }

 private:
  static constexpr bool kOneWindow = kLayout == WindowLayout::one_window, kFifths = kCodeBits == 5;
  static constexpr std::size_t kWindows = kOneWindow ? 1 : 2, kRows = 2 * kStepRows / kWindows;
  static constexpr std::size_t kPairBytes = kCodeBits == 8 ? 256 : 192;
  static constexpr std::size_t kAtOnce = 4, kSlots = 4;
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

  // Finds the survivors of a group's rows. Behind those of each row there are slots of kNoElement.
  void load(std::size_t group) {
    const std::size_t survivors = survivors_of(group);
    elements_.resize(survivors + kRows * kSlots + kAtOnce);
    codes_.resize(survivors + kSlots);
    std::int32_t* next = elements_.data();
    std::uint8_t* codes = codes_.data();
    for (std::size_t lane = 0; lane < kRows; ++lane) {
      next_[lane] = next;
      next_codes_[lane] = codes;
      if (lane < rows_in(group)) {
        const std::uint32_t row = rows_.order[group * kRows + lane];
        const auto first = static_cast<std::ptrdiff_t>(rows_.before[row]);
        codes = std::copy(matrix_.codes.begin() + first,
                          matrix_.codes.begin() + static_cast<std::ptrdiff_t>(rows_.before[row + 1]), codes);
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
      next = std::fill_n(next, kSlots, kNoElement);
    }
    earliest_ = kNoElement;
    for (const std::int32_t* const first : next_) earliest_ = std::min(earliest_, *first);
  }

  void add_pair() {
    const std::size_t at = packed_.stream.size();
    packed_.stream.resize(at + kPairBytes, 0);
    if constexpr (kOneWindow && kFifths) packed_.fifths.resize(packed_.fifths.size() + 2, 0);
    for (std::size_t window = 0; window < kWindows; ++window) add_window(packed_.stream.data() + at, window);
  }

  // Fills four slots of each row, as far as the window reaches.
  void add_window(std::uint8_t* pair, std::size_t window) {
    const std::size_t block = earliest_ == kNoElement
                                  ? packed_.starts.back()  // the second window of a last pair
                                  : std::min(static_cast<std::size_t>(earliest_) / kBlockElements, shape_.last_start);
    packed_.starts.push_back(static_cast<std::uint16_t>(block));
    const auto begin = static_cast<std::int32_t>(block * kBlockElements), end = begin + kReach;
    earliest_ = kNoElement;
    for (std::size_t first = 0; first < kRows; first += kStepRows) {
      const std::size_t step = window + first / kStepRows;
      for (std::size_t row = 0; row < kStepRows; ++row) slots_[row] = take_slots(first + row, begin, end);
      put_step(pair, step);
    }
  }

  // The slots of a row in a step, a byte each.
  struct Slots {
    std::uint32_t places, codes;
  };

  // Without a branch for each survivor, which would often be mispredicted.
  Slots take_slots(std::size_t lane, std::int32_t begin, std::int32_t end) {
    const std::int32_t* const found = next_[lane];
    const auto codes = load_le<std::uint32_t>(next_codes_[lane]);
    std::uint32_t places = 0;
    unsigned count = 0;
    for (std::size_t slot = 0; slot < kSlots; ++slot) {
      // behind a row's survivors the places are replaced, so that it does not matter what they are
      const std::uint32_t place = static_cast<std::uint32_t>(found[slot]) - static_cast<std::uint32_t>(begin);
      places |= (place & 255) << (8 * slot);
      count += found[slot] < end ? 1 : 0;
    }
    next_[lane] += count;
    next_codes_[lane] += count;
    earliest_ = std::min(earliest_, found[count]);
    const auto taken = static_cast<std::uint32_t>((std::uint64_t{1} << (8 * count)) - 1);
    return {(places & taken) | (kNothing * 0x01010101u & ~taken), codes & taken};
  }

  void put_step(std::uint8_t* pair, std::size_t step) {
    std::uint8_t *const places = pair + step * kStepSlots, *const codes = pair + 2 * kStepSlots;
    for (std::size_t row = 0; row < kStepRows; ++row) {
      if constexpr (kLayout == WindowLayout::by_slot) {
        for (std::size_t slot = 0; slot < kSlots; ++slot) {
          places[place_of(kLayout, row, slot)] = static_cast<std::uint8_t>(slots_[row].places >> (8 * slot));
        }
      } else {
        store_le(places + place_of(kLayout, row, 0), slots_[row].places);
      }
    }
    for (std::size_t row = 0; row < kStepRows; ++row) {
      const std::uint32_t code = slots_[row].codes;
      if constexpr (kCodeBits == 8) {
        store_le(codes + step * kStepSlots + kSlots * row, code);
      } else {
        or_bytes(codes + kSlots * row, (code & 0x0f0f0f0f) << (4 * step));
      }
      if constexpr (kFifths && kOneWindow) {
        // bit 4 of each byte, as four bits
        const std::uint32_t four = (code >> 4 & 0x01010101) * 0x01020408 >> 24 & 15;
        packed_.fifths[packed_.fifths.size() - 2 + step] |= std::uint64_t{four} << (kSlots * row);
      } else if constexpr (kFifths) {
        or_bytes(places + kSlots * row, (code & 0x10101010) << 3);
      }
    }
  }

  static void or_bytes(std::uint8_t* bytes, std::uint32_t bits) {
    store_le(bytes, load_le<std::uint32_t>(bytes) | bits);
  }

  const WindowShape shape_;
  const Matrix& matrix_;
  const RowOrder& rows_;
  WindowGroups packed_;
  std::vector<std::int32_t> elements_;
  std::vector<std::uint8_t> codes_;
  std::array<const std::int32_t*, kRows> next_{};
  std::array<const std::uint8_t*, kRows> next_codes_{};
  std::int32_t earliest_ = kNoElement;  // the first element yet to pack
  std::array<Slots, kStepRows> slots_{};
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
