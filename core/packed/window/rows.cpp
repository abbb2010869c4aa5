// What the forms `window` and `wide` share when they are packed and checked.
#include "packed/window/rows.hpp"

#include <stdexcept>
#include <string>

#include "common/bit_walk.hpp"

namespace dcz {
namespace {

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

}  // namespace

GroupRows::GroupRows(const Matrix& matrix, const RowOrder& rows, std::size_t group_rows, std::size_t group)
    : lanes(std::min(group_rows, rows.order.size() - group_rows * group)) {
  for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
    const std::uint32_t row = rows.order[group * group_rows + lane];
    lanes[lane].codes = matrix.codes.data() + rows.before[row];
    lanes[lane].columns.reserve(static_cast<std::size_t>(rows.before[row + 1] - rows.before[row]));
    const std::uint64_t begin = row * matrix.columns;
    each_bit(matrix.bitmap, begin, begin + matrix.columns,
             [&](std::uint64_t at) { lanes[lane].columns.push_back(static_cast<std::uint32_t>(at - begin)); });
  }
}

std::uint32_t GroupRows::earliest() const {
  std::uint32_t earliest = kNoColumn;
  for (const Lane& lane : lanes) {
    if (lane.pending()) earliest = std::min(earliest, lane.columns[lane.next]);
  }
  return earliest;
}

void check_digits(const Digits& digits, std::size_t centroids) {
  if (digits.int8.size() != centroids || (digits.grid == Grid::int16 && digits.int16.size() != centroids)) {
    throw std::invalid_argument("there must be one digit a centroid");
  }
  check_range(digits.int8, kMostInt8, "8");
  check_range(digits.int16, kMostInt16, "16");
}

DigitPlanes planes_from(const Digits& digits, std::size_t centroids) {
  DigitPlanes planes(digits.grid == Grid::int16 ? 3 : 1, std::vector<std::int8_t>(centroids));
  for (std::size_t i = 0; i < digits.int8.size(); ++i) planes[0][i] = static_cast<std::int8_t>(digits.int8[i]);
  for (std::size_t i = 0; planes.size() == 3 && i < digits.int16.size(); ++i) {
    planes[1][i] = static_cast<std::int8_t>(digits.int16[i] & 0xff);
    planes[2][i] = static_cast<std::int8_t>((digits.int16[i] - planes[1][i]) / 256);
  }
  return planes;
}

std::vector<std::int32_t> row_sums(const Matrix& matrix, const RowOrder& rows, const std::vector<std::int8_t>& plane,
                                   std::size_t group_rows) {
  std::vector<std::int32_t> sums(round_up(rows.order.size(), group_rows));
  for (std::size_t lane = 0; lane < rows.order.size(); ++lane) {
    const std::uint32_t row = rows.order[lane];
    std::int64_t sum = 0;
    for (std::uint64_t i = rows.before[row]; i < rows.before[row + 1]; ++i) sum += plane[matrix.codes[i]];
    sums[lane] = static_cast<std::int32_t>(sum);
  }
  return sums;
}

std::vector<std::uint32_t> lanes_of(const RowOrder& rows, std::size_t group_rows) {
  std::vector<std::uint32_t> lanes = rows.order;
  lanes.resize(round_up(lanes.size(), group_rows), kNoRow);
  return lanes;
}

}  // namespace dcz
