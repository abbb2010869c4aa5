// The form `window`: packing, group by group.
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "common/bit_walk.hpp"
#include "packed/activations.hpp"
#include "packed/row_order.hpp"
#include "packed/window/window.hpp"

namespace dcz {
namespace {

// Two signed bytes hold digits up to 127 * 256 + 127. Kernels negate digits of 8 bits.
constexpr std::int16_t kMostInt8 = 127, kMostInt16 = 32639;

void check_range(const std::vector<std::int16_t>& digits, std::int16_t most, const char* bits) {
  for (const std::int16_t digit : digits) {
    if (digit < -most || digit > most) {
      throw std::invalid_argument("a digit of " + std::string(bits) + " bits lies between -" + std::to_string(most) +
                                  " and " + std::to_string(most) + "; found " + std::to_string(digit));
    }
  }
}

void check(const Matrix& matrix, const Digits& digits) {
  matrix.check();
  if (matrix.columns > kMostWindowColumns) {
    throw std::invalid_argument("the form window has at most " + std::to_string(kMostWindowColumns) + " columns");
  }
  const std::size_t centroids = matrix.codebook.size();
  if (digits.int8.size() != centroids || (digits.grid == Grid::int16 && digits.int16.size() != centroids)) {
    throw std::invalid_argument("there must be one digit a centroid");
  }
  check_range(digits.int8, kMostInt8, "8");
  check_range(digits.int16, kMostInt16, "16");
}

// A scale by which 24 bits hold the codebook well enough, or 0. It is a power of two: centroids are rounded once at
// most.
float scale24(const Matrix& matrix) {
  float largest = 0;
  double sum = 0;
  for (const std::uint8_t code : matrix.codes) {
    const float magnitude = std::fabs(matrix.codebook[code]);
    largest = std::max(largest, magnitude);
    sum += static_cast<double>(magnitude);
  }
  const double mean = sum / static_cast<double>(std::max<std::size_t>(matrix.codes.size(), 1));
  const bool fits = largest >= std::numeric_limits<float>::min() * 0x1p24f &&
                    static_cast<double>(largest) <= static_cast<double>(kMostOutstanding) * mean;
  return fits ? step24(largest, kMost24) : 0;
}

PackedHeader header_of(const Matrix& matrix, const Digits& digits, WindowLayout layout) {
  PackedHeader header = header_for(Form::window, matrix);
  header.grid = digits.grid;
  header.scale8 = digits.scale8;
  header.scale16 = digits.scale16;
  if (layout == WindowLayout::digits24) {
    if (digits.grid == Grid::none) header.scale16 = scale24(matrix);
    if (digits.grid == Grid::int8 || !(header.scale16 > 0)) layout = WindowLayout::by_slot;
  }
  header.layout = static_cast<std::uint8_t>(layout);
  return header;
}

// All planes of digits, one after the other.
std::vector<std::int8_t> planes_of(const PackedHeader& header, const Matrix& matrix, const Digits& digits) {
  const std::size_t count = WindowShape(header).planes, centroids = std::size_t{1} << header.code_bits;
  std::vector<std::int8_t> planes(count * centroids);
  for (std::size_t code = 0; code < matrix.codebook.size(); ++code) {
    planes[code] = static_cast<std::int8_t>(digits.int8[code]);
    if (count == 1) continue;
    // a centroid without survivors may be larger than all others
    const double units = static_cast<double>(matrix.codebook[code]) / static_cast<double>(header.scale16);
    auto left = digits.grid == Grid::int16
                    ? std::int32_t{digits.int16[code]}
                    : static_cast<std::int32_t>(std::lrint(std::fmin(std::fmax(units, -kMost24), kMost24)));
    for (std::size_t plane = 1; plane < count; ++plane) {
      const auto digit = static_cast<std::int8_t>(left & 0xff);
      planes[plane * centroids + code] = digit;
      left = (left - digit) / 256;
    }
  }
  return planes;
}

// A row of a group: its survivors, and the next one to pack.
struct Lane {
  std::vector<std::uint32_t> columns;
  const std::uint8_t* codes;
  std::size_t next;

  bool pending() const { return next < columns.size(); }
};

class Packer {
 public:
  Packer(const PackedHeader& header, const Matrix& matrix, const RowOrder& rows)
      : layout_(static_cast<WindowLayout>(header.layout)),
        code_bits_(header.code_bits),
        shape_(header),
        matrix_(matrix),
        rows_(rows) {}

  void run() {
    for (std::size_t first = 0; first < rows_.order.size(); first += shape_.group_rows) {
      lanes_.clear();
      for (std::size_t i = first; i < std::min(first + shape_.group_rows, rows_.order.size()); ++i) add_lane(i);
      while (earliest() != kNoColumn) {
        add_pair();
        for (std::size_t window = 0; window < shape_.windows; ++window) add_window(window);
      }
      ends.push_back(static_cast<std::uint32_t>(starts.size() / shape_.windows));
    }
  }

  std::vector<std::uint32_t> ends;
  std::vector<std::uint16_t> starts;
  std::vector<std::uint64_t> fifths;
  std::vector<std::uint8_t> stream;

 private:
  static constexpr std::uint32_t kNoColumn = 0xffffffff;

  void add_lane(std::size_t number) {
    const std::uint32_t row = rows_.order[number];
    Lane& lane = lanes_.emplace_back();
    lane.codes = matrix_.codes.data() + rows_.before[row];
    lane.columns.reserve(static_cast<std::size_t>(rows_.before[row + 1] - rows_.before[row]));
    const std::uint64_t begin = row * matrix_.columns;
    each_bit(matrix_.bitmap, begin, begin + matrix_.columns,
             [&](std::uint64_t at) { lane.columns.push_back(static_cast<std::uint32_t>(at - begin)); });
  }

  // The first column yet to pack.
  std::uint32_t earliest() const {
    std::uint32_t earliest = kNoColumn;
    for (const Lane& lane : lanes_) {
      if (lane.pending()) earliest = std::min(earliest, lane.columns[lane.next]);
    }
    return earliest;
  }

  // Adds a pair of empty slots.
  void add_pair() {
    const std::size_t at = stream.size();
    stream.resize(at + shape_.pair_bytes, 0);
    std::fill_n(stream.begin() + static_cast<std::ptrdiff_t>(at), 2 * kStepSlots, kNothing);
    if (layout_ == WindowLayout::one_window && code_bits_ == 5) fifths.resize(fifths.size() + 2, 0);
  }

  // Fills four slots of each row in the last pair, as far as the window reaches.
  void add_window(std::size_t window) {
    const std::uint32_t first = earliest();
    const std::size_t block = first == kNoColumn ? starts.back()  // the second window of a last pair
                                                 : std::min(first / kBlockColumns, shape_.last_start);
    starts.push_back(static_cast<std::uint16_t>(block));
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      Lane& lane = lanes_[i];
      for (std::size_t slot = 0; slot < 4 && lane.pending(); ++slot, ++lane.next) {
        const std::size_t local = lane.columns[lane.next] - block * kBlockColumns;
        if (local >= shape_.window_blocks * kBlockColumns) break;
        put_slot(window + i / kStepRows, i % kStepRows, slot, local, lane.codes[lane.next]);
      }
    }
  }

  void put_slot(std::size_t step, std::size_t row, std::size_t slot, std::size_t local, std::uint8_t code) {
    std::uint8_t* const places = stream.data() + stream.size() - shape_.pair_bytes + step * kStepSlots;
    std::uint8_t* const codes = stream.data() + stream.size() - shape_.pair_bytes + 2 * kStepSlots;
    const std::size_t at = 4 * row + slot;
    const auto fifth = static_cast<std::uint8_t>(code >> 4);
    std::uint8_t& place = places[place_of(layout_, row, slot)];
    const std::size_t found = local / kBlockColumns * kBlockElements + local % kBlockColumns;
    if (code_bits_ == 8) {
      codes[step * kStepSlots + at] = code;
    } else {
      codes[at] = static_cast<std::uint8_t>(codes[at] | (code & 15) << (4 * step));
    }
    if (layout_ == WindowLayout::one_window) {
      place = static_cast<std::uint8_t>(found);
      if (code_bits_ == 5) fifths[fifths.size() - 2 + step] |= std::uint64_t{fifth} << at;
    } else {
      place = static_cast<std::uint8_t>((place & 0x80) | found);
      if (code_bits_ == 5) places[at] = static_cast<std::uint8_t>(places[at] | fifth << 7);
    }
  }

  const WindowLayout layout_;
  const std::uint8_t code_bits_;
  const WindowShape shape_;
  const Matrix& matrix_;
  const RowOrder& rows_;
  std::vector<Lane> lanes_;
};

// The sums of each row's digits: plane by plane, the rows in order, zeros for those that the last group lacks.
std::vector<std::int32_t> sums_of(const Matrix& matrix, const RowOrder& rows, const std::vector<std::int8_t>& planes,
                                  std::size_t centroids, std::size_t lanes) {
  std::vector<std::int32_t> sums(planes.size() / centroids * lanes);
  for (std::size_t plane = 0; plane < planes.size() / centroids; ++plane) {
    const std::int8_t* const digits = planes.data() + plane * centroids;
    for (std::size_t lane = 0; lane < rows.order.size(); ++lane) {
      const std::uint32_t row = rows.order[lane];
      std::int64_t sum = 0;
      for (std::uint64_t i = rows.before[row]; i < rows.before[row + 1]; ++i) sum += digits[matrix.codes[i]];
      sums[plane * lanes + lane] = static_cast<std::int32_t>(sum);
    }
  }
  return sums;
}

}  // namespace

std::vector<std::uint8_t> pack_window(const Matrix& matrix, const Digits& digits, WindowLayout layout) {
  check(matrix, digits);
  PackedHeader header = header_of(matrix, digits, layout);
  const WindowShape shape(header);
  RowOrder rows = order_rows(matrix, shape.group_rows);
  Packer groups(header, matrix, rows);
  groups.run();
  header.units = static_cast<std::uint32_t>(groups.ends.size());
  header.length = groups.starts.size() / shape.windows;
  const std::size_t centroids = std::size_t{1} << header.code_bits, lanes = shape.group_rows * groups.ends.size();
  const std::vector<std::int8_t> planes = planes_of(header, matrix, digits);
  const std::vector<std::int32_t> sums = sums_of(matrix, rows, planes, centroids, lanes);
  rows.order.resize(lanes, kNoRow);
  SectionWriter sections;
  sections.add(matrix.codebook, centroids);
  sections.add(planes);
  sections.add(groups.ends);
  sections.add(rows.order);
  sections.add(sums);
  sections.add(groups.starts);
  sections.add(groups.fifths);
  sections.add(groups.stream);
  return sections.packed(header);
}

}  // namespace dcz
