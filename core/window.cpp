// The form `window`: packing and finding its sections.
#include "window.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#include "bits.hpp"

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

// Calls take(bit) for each set bit among `count` from bit `first` on.
template <typename Take>
void visit_bits(std::span<const std::uint8_t> bitmap, std::uint64_t first, std::uint64_t count, const Take& take) {
  for (std::uint64_t done = 0; done < count;) {
    const std::uint64_t at = first + done, byte = at / 8;
    std::uint64_t word = 0;
    if (byte + 8 <= bitmap.size()) {
      word = load_le64(bitmap.data() + byte);
    } else {
      for (std::uint64_t i = byte; i < bitmap.size(); ++i) word |= std::uint64_t{bitmap[i]} << (8 * (i - byte));
    }
    word >>= at % 8;
    const std::uint64_t here = std::min<std::uint64_t>(64 - at % 8, count - done);
    if (here < 64) word &= (std::uint64_t{1} << here) - 1;
    for (; word != 0; word &= word - 1) take(done + static_cast<std::uint64_t>(std::countr_zero(word)));
    done += here;
  }
}

std::uint32_t count_bits(std::span<const std::uint8_t> bitmap, std::uint64_t first, std::uint64_t count) {
  std::uint32_t bits = 0;
  visit_bits(bitmap, first, count, [&](std::uint64_t) { ++bits; });
  return bits;
}

// Packs one group after the other.
class Packer {
 public:
  Packer(const Matrix& matrix, std::uint8_t code_bits, SlotOrder slots)
      : matrix_(matrix), code_bits_(code_bits), slots_(slots) {}

  // The rows of a group, each with the number of survivors before it.
  void add_group(std::span<const std::uint32_t> rows, const std::vector<std::uint64_t>& before) {
    for (std::size_t lane = 0; lane < kGroupRows; ++lane) {
      columns_[lane].clear();
      next_[lane] = 0;
      if (lane >= rows.size()) continue;
      codes_[lane] = matrix_.codes.data() + before[rows[lane]];
      visit_bits(matrix_.bitmap, rows[lane] * matrix_.columns, matrix_.columns,
                 [&](std::uint64_t column) { columns_[lane].push_back(static_cast<std::uint32_t>(column)); });
    }
    std::size_t step = 0;
    while (add_step(step % 2)) ++step;
    if (step % 2 != 0) starts.push_back(starts.back());
    ends.push_back(static_cast<std::uint32_t>(starts.size() / 2));
  }

  std::vector<std::uint32_t> ends;
  std::vector<std::uint16_t> starts;
  std::vector<std::uint8_t> stream;

 private:
  // False if no survivor is left. `half` is which step of its pair it is.
  bool add_step(std::size_t half) {
    std::uint32_t earliest = std::numeric_limits<std::uint32_t>::max();
    for (std::size_t lane = 0; lane < kGroupRows; ++lane) {
      if (next_[lane] < columns_[lane].size()) earliest = std::min(earliest, columns_[lane][next_[lane]]);
    }
    if (earliest == std::numeric_limits<std::uint32_t>::max()) return false;
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
      const auto& columns = columns_[lane];
      std::size_t& next = next_[lane];
      for (std::size_t slot = 0; slot < 4 && next < columns.size() && columns[next] - first < 2 * kBlockColumns;
           ++slot, ++next) {
        const std::uint32_t local = columns[next] - first;
        const std::uint8_t code = codes_[lane][next];
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

  const Matrix& matrix_;
  const std::uint8_t code_bits_;
  const SlotOrder slots_;
  std::array<std::vector<std::uint32_t>, kGroupRows> columns_;
  std::array<std::size_t, kGroupRows> next_{};
  std::array<const std::uint8_t*, kGroupRows> codes_{};
};

template <typename T>
void put(std::vector<std::uint8_t>& packed, std::size_t at, const std::vector<T>& values) {
  if (!values.empty()) std::memcpy(packed.data() + at, values.data(), values.size() * sizeof(T));
}

// A digit of 16 bits splits into two signed bytes up to 127 * 256 + 127, and kernels negate those of 8 bits.
constexpr std::int16_t kMostInt8 = 127, kMostInt16 = 32639;

void check_range(const std::vector<std::int16_t>& digits, std::int16_t most, const char* bits) {
  for (const std::int16_t digit : digits) {
    if (digit < -most || digit > most) {
      throw std::invalid_argument("a digit of " + std::string(bits) + " bits lies between -" + std::to_string(most) +
                                  " and " + std::to_string(most) + "; found " + std::to_string(digit));
    }
  }
}

// Digit planes as the kernels hold them.
std::vector<std::vector<std::int8_t>> planes_from(const Digits& digits, std::size_t centroids) {
  std::vector<std::vector<std::int8_t>> planes(digits.grid == Grid::int16 ? 3 : 1, std::vector<std::int8_t>(centroids));
  for (std::size_t i = 0; i < digits.int8.size(); ++i) planes[0][i] = static_cast<std::int8_t>(digits.int8[i]);
  for (std::size_t i = 0; planes.size() == 3 && i < digits.int16.size(); ++i) {
    planes[1][i] = static_cast<std::int8_t>(digits.int16[i] & 0xff);
    planes[2][i] = static_cast<std::int8_t>((digits.int16[i] - planes[1][i]) / 256);
  }
  return planes;
}

}  // namespace

std::vector<std::uint8_t> pack_window(const Matrix& matrix, const Digits& digits, SlotOrder slots) {
  matrix.check();
  if (matrix.columns > kBlockColumns * std::numeric_limits<std::uint16_t>::max()) {
    throw std::invalid_argument("the form window has at most 4128705 columns");
  }
  if (digits.int8.size() != matrix.codebook.size() ||
      (digits.grid == Grid::int16 && digits.int16.size() != matrix.codebook.size())) {
    throw std::invalid_argument("there must be one digit a centroid");
  }
  check_range(digits.int8, kMostInt8, "8");
  check_range(digits.int16, kMostInt16, "16");
  const auto rows = static_cast<std::size_t>(matrix.rows);
  std::vector<std::uint64_t> before(rows + 1, 0);
  std::vector<std::uint32_t> order(rows);
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t row = 0; row < rows; ++row) {
    before[row + 1] = before[row] + count_bits(matrix.bitmap, row * matrix.columns, matrix.columns);
  }
  const auto count = [&](std::uint32_t row) { return before[row + 1] - before[row]; };
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return count(a) > count(b); });

  Packer packer(matrix, code_bits_for(matrix.codebook.size()), slots);
  for (std::size_t first = 0; first < rows; first += kGroupRows) {
    packer.add_group(std::span(order).subspan(first, std::min(kGroupRows, rows - first)), before);
  }
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
  std::vector<std::int32_t> sums(kGroupRows * packer.ends.size());
  order.resize(kGroupRows * packer.ends.size(), kNoRow);
  for (std::size_t plane = 0; plane < planes.size(); ++plane) {
    put(packed, layout.digits + plane * centroids, planes[plane]);
    for (std::size_t lane = 0; lane < rows; ++lane) {
      std::int64_t sum = 0;
      for (std::uint64_t i = before[order[lane]]; i < before[order[lane] + 1]; ++i)
        sum += planes[plane][matrix.codes[i]];
      sums[lane] = static_cast<std::int32_t>(sum);
    }
    put(packed, layout.sums + plane * sums.size() * sizeof(std::int32_t), sums);
  }
  put(packed, layout.ends, packer.ends);
  put(packed, layout.order, order);
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
  std::uint32_t end = 0;
  for (std::size_t group = 0; group < view.groups(); ++group) {
    if (view.ends[group] < end || view.ends[group] > view.pairs()) {
      throw std::invalid_argument("packed weights with a group outside of the stream");
    }
    end = view.ends[group];
  }
  if (end != view.pairs()) throw std::invalid_argument("packed weights whose groups do not fill the stream");
  std::vector<bool> seen(view.header.rows);
  for (std::size_t lane = 0; lane < kGroupRows * view.groups(); ++lane) {
    const std::uint32_t row = view.order[lane];
    if (lane >= view.header.rows ? row != kNoRow : row >= view.header.rows || seen[row]) {
      throw std::invalid_argument("packed weights whose lanes are not the rows, each once");
    }
    if (row != kNoRow) seen[row] = true;
  }
  for (std::size_t step = 0; step < 2 * view.pairs(); ++step) {
    if (view.starts[step] + std::size_t{1} >= view.blocks) {
      throw std::invalid_argument("packed weights with a window behind the last column");
    }
  }
}

}  // namespace dcz
