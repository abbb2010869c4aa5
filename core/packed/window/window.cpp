// The form `window`: packing and finding its sections.
#include "packed/window/window.hpp"

#include <algorithm>
#include <stdexcept>

#include "packed/window/sections.hpp"

namespace dcz {
namespace {

WindowShape shape_of(const PackedHeader& header) {
  return {.group_rows = kStepRows,
          .planes = header.grid == Grid::int16 ? std::size_t{3} : 1,
          .starts = 2,
          .fifth_words = 0};
}

// Packs one group after the other.
class Packer {
 public:
  Packer(std::uint8_t code_bits, SlotOrder slots) : code_bits_(code_bits), slots_(slots) {}

  void add_group(GroupRows rows) {
    std::size_t step = 0;
    while (add_step(rows, step % 2)) ++step;
    if (step % 2 != 0) packed.starts.push_back(packed.starts.back());
    packed.ends.push_back(static_cast<std::uint32_t>(packed.starts.size() / 2));
  }

  PackedGroups packed;

 private:
  // False if no survivor is left. `half` is which step of its pair it is.
  bool add_step(GroupRows& rows, std::size_t half) {
    const std::uint32_t earliest = rows.earliest();
    if (earliest == GroupRows::kNoColumn) return false;
    const std::uint32_t block = earliest / kBlockColumns, first = block * kBlockColumns;
    packed.starts.push_back(static_cast<std::uint16_t>(block));
    if (half == 0) packed.add_pair(code_bits_);
    std::uint8_t* const pair = packed.stream.data() + packed.stream.size() - pair_bytes(code_bits_);
    std::uint8_t* const places = pair + half * kStepSlots;
    std::uint8_t* const codes = pair + 2 * kStepSlots;
    for (std::size_t lane = 0; lane < rows.lanes.size(); ++lane) {
      GroupRows::Lane& row = rows.lanes[lane];
      for (std::size_t slot = 0; slot < 4 && row.pending() && row.columns[row.next] - first < 2 * kBlockColumns;
           ++slot, ++row.next) {
        const std::uint32_t local = row.columns[row.next] - first;
        const std::uint8_t code = row.codes[row.next];
        std::uint8_t& place = places[place_of(slots_, lane, slot)];
        place = static_cast<std::uint8_t>((place & 0x80) | (local + (local >= kBlockColumns)));
        if (code_bits_ == 8) {
          codes[half * kStepSlots + 4 * lane + slot] = code;
        } else {
          codes[4 * lane + slot] = static_cast<std::uint8_t>(codes[4 * lane + slot] | (code & 15) << (4 * half));
          std::uint8_t& fifth = places[4 * lane + slot];
          fifth = static_cast<std::uint8_t>(fifth | (code >> 4) << 7);
        }
      }
    }
    return true;
  }

  const std::uint8_t code_bits_;
  const SlotOrder slots_;
};

}  // namespace

std::vector<std::uint8_t> pack_window(const Matrix& matrix, const Digits& digits, SlotOrder slots) {
  check_matrix(matrix, digits, "window");
  PackedHeader header = window_header(Form::window, matrix, digits);
  header.slots = static_cast<std::uint8_t>(slots);
  const RowOrder rows = order_rows(matrix, kStepRows);
  Packer packer(header.code_bits, slots);
  for (std::size_t group = 0; group * kStepRows < rows.order.size(); ++group)
    packer.add_group({matrix, rows, kStepRows, group});
  const auto planes = planes_from(digits, std::size_t{1} << header.code_bits);
  return put_sections(header, shape_of(header), matrix, rows, planes, packer.packed);
}

WindowView window_view(std::span<const std::uint8_t> packed) {
  const PackedHeader header = read_packed_header(packed);
  if (header.form != Form::window || header.slots > 1 || !groups_fit(header, shape_of(header))) {
    throw std::invalid_argument("packed weights of the form window that contradict themselves");
  }
  WindowView view = find_sections(packed, header, shape_of(header));
  // an empty matrix has one block too, so that there is a window
  view.blocks = std::max<std::size_t>(1, (header.columns + kBlockColumns - 1) / kBlockColumns) + 1;
  return view;
}

void check_window(const WindowView& view) { check_sections(view, 2, view.blocks - 2); }

}  // namespace dcz
