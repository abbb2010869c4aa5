// The form `window`: packing and finding its sections.
#include "window.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "window_rows.hpp"

namespace dcz {
namespace {

struct Layout {
  std::size_t codebook, digits, ends, order, sums, starts, stream, bytes;
};

std::size_t planes_of(const PackedHeader& header) { return header.grid == Grid::int16 ? 3 : 1; }
std::size_t stream_bytes_of(const PackedHeader& header) { return header.code_bits == 8 ? 256 : 192; }

Layout layout_of(const PackedHeader& header) {
  Sections sections;
  const std::size_t centroids = std::size_t{1} << header.code_bits, planes = planes_of(header);
  const std::size_t groups = header.units, pairs = header.length;
  Layout layout{};
  layout.codebook = sections.next(sizeof(float) * centroids);
  layout.digits = sections.next(planes * centroids);
  layout.ends = sections.next(sizeof(std::uint32_t) * groups);
  layout.order = sections.next(sizeof(std::uint32_t) * kGroupRows * groups);
  layout.sums = sections.next(sizeof(std::int32_t) * kGroupRows * groups * planes);
  layout.starts = sections.next(sizeof(std::uint16_t) * 2 * pairs);
  layout.stream = sections.next(stream_bytes_of(header) * pairs);
  layout.bytes = sections.end();
  return layout;
}

// Packs one group after the other.
class Packer {
 public:
  Packer(std::uint8_t code_bits, SlotOrder slots) : code_bits_(code_bits), slots_(slots) {}

  void add_group(GroupRows rows) {
    std::size_t step = 0;
    while (add_step(rows, step % 2)) ++step;
    if (step % 2 != 0) starts.push_back(starts.back());
    ends.push_back(static_cast<std::uint32_t>(starts.size() / 2));
  }

  std::vector<std::uint32_t> ends;
  std::vector<std::uint16_t> starts;
  std::vector<std::uint8_t> stream;

 private:
  // False if no survivor is left. `half` is which step of its pair it is.
  bool add_step(GroupRows& rows, std::size_t half) {
    const std::uint32_t earliest = rows.earliest();
    if (earliest == GroupRows::kNoColumn) return false;
    const std::uint32_t block = earliest / kBlockColumns, first = block * kBlockColumns;
    starts.push_back(static_cast<std::uint16_t>(block));
    const std::size_t bytes = code_bits_ == 8 ? 256 : 192;
    if (half == 0) {
      stream.resize(stream.size() + bytes, 0);
      std::fill_n(stream.end() - static_cast<std::ptrdiff_t>(bytes), 2 * kStepSlots, kNothing);
    }
    std::uint8_t* const pair = stream.data() + stream.size() - bytes;
    std::uint8_t* const places = pair + half * kStepSlots;
    std::uint8_t* const codes = pair + 2 * kStepSlots;
    for (std::size_t lane = 0; lane < kGroupRows; ++lane) {
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
  matrix.check();
  if (matrix.columns > kBlockColumns * std::numeric_limits<std::uint16_t>::max()) {
    throw std::invalid_argument("the form window has at most 4128705 columns");
  }
  check_digits(digits, matrix.codebook.size());
  const SortedRows rows = sort_rows(matrix);
  Packer packer(code_bits_for(matrix.codebook.size()), slots);
  for (std::size_t group = 0; group * kGroupRows < rows.order.size(); ++group) packer.add_group({matrix, rows, group});
  PackedHeader header{};
  header.magic = kPackedMagic;
  header.form = Form::window;
  header.code_bits = code_bits_for(matrix.codebook.size());
  header.grid = digits.grid;
  header.slots = static_cast<std::uint8_t>(slots);
  header.rows = matrix.rows;
  header.columns = matrix.columns;
  header.survivors = matrix.codes.size();
  header.centroids = static_cast<std::uint32_t>(matrix.codebook.size());
  header.units = static_cast<std::uint32_t>(packer.ends.size());
  header.length = packer.starts.size() / 2;
  header.scale8 = digits.scale8;
  header.scale16 = digits.scale16;
  const Layout layout = layout_of(header);
  header.bytes = layout.bytes;

  const std::size_t centroids = std::size_t{1} << header.code_bits;
  const auto planes = planes_from(digits, centroids);
  std::vector<std::uint8_t> packed(layout.bytes, 0);
  std::memcpy(packed.data(), &header, sizeof header);
  std::copy_n(reinterpret_cast<const std::uint8_t*>(matrix.codebook.data()), sizeof(float) * matrix.codebook.size(),
              packed.data() + layout.codebook);
  for (std::size_t plane = 0; plane < planes.size(); ++plane) {
    put(packed, layout.digits + plane * centroids, planes[plane]);
    const auto sums = row_sums(matrix, rows, planes[plane]);
    put(packed, layout.sums + plane * sums.size() * sizeof(std::int32_t), sums);
  }
  put(packed, layout.ends, packer.ends);
  put(packed, layout.order, lanes_of(rows));
  put(packed, layout.starts, packer.starts);
  put(packed, layout.stream, packer.stream);
  return packed;
}

WindowView window_view(std::span<const std::uint8_t> packed) {
  WindowView view{};
  view.header = read_packed_header(packed);
  const PackedHeader& header = view.header;
  if (header.form != Form::window || header.slots > 1 || header.columns > kBlockColumns * 0xffff ||
      header.units != (header.rows + kGroupRows - 1) / kGroupRows) {
    throw std::invalid_argument("packed weights of the form window that contradict themselves");
  }
  const Layout layout = layout_of(header);
  if (layout.bytes != header.bytes) throw std::invalid_argument("packed weights whose sections do not fill them");
  // an empty matrix has one block too, so that there is a window
  view.blocks = std::max<std::size_t>(1, (header.columns + kBlockColumns - 1) / kBlockColumns) + 1;
  view.planes = planes_of(header);
  view.stream_bytes = stream_bytes_of(header);
  const std::uint8_t* const data = packed.data();
  view.codebook = reinterpret_cast<const float*>(data + layout.codebook);
  view.digits = reinterpret_cast<const std::int8_t*>(data + layout.digits);
  view.ends = reinterpret_cast<const std::uint32_t*>(data + layout.ends);
  view.order = reinterpret_cast<const std::uint32_t*>(data + layout.order);
  view.sums = reinterpret_cast<const std::int32_t*>(data + layout.sums);
  view.starts = reinterpret_cast<const std::uint16_t*>(data + layout.starts);
  view.stream = data + layout.stream;
  return view;
}

void check_window(const WindowView& view) {
  check_groups(view);
  for (std::size_t step = 0; step < 2 * view.pairs(); ++step) {
    if (view.starts[step] + std::size_t{1} >= view.blocks) {
      throw std::invalid_argument("packed weights with a window behind the last column");
    }
  }
}

}  // namespace dcz
