// The form `window`: packing.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "common/pool.hpp"
#include "packed/activations.hpp"
#include "packed/row_order.hpp"
#include "packed/window/groups.hpp"
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
float scale24(const Matrix& matrix, unsigned threads) {
  std::array<std::atomic<std::uint64_t>, 256> counts{};
  share_spans(threads, matrix.codes.size(), [&](std::size_t begin, std::size_t end) {
    std::array<std::uint64_t, 256> found{}, next{};
    for (std::size_t i = begin; i < end; i += 2) {
      ++found[matrix.codes[i]];
      if (i + 1 < end) ++next[matrix.codes[i + 1]];
    }
    for (std::size_t code = 0; code < counts.size(); ++code) counts[code] += found[code] + next[code];
  });
  float largest = 0;
  double sum = 0;
  for (std::size_t code = 0; code < matrix.codebook.size(); ++code) {
    if (counts[code] == 0) continue;
    const float magnitude = std::fabs(matrix.codebook[code]);
    largest = std::max(largest, magnitude);
    sum += static_cast<double>(magnitude) * static_cast<double>(counts[code]);
  }
  const double mean = sum / static_cast<double>(std::max<std::size_t>(matrix.codes.size(), 1));
  const bool fits = largest >= std::numeric_limits<float>::min() * 0x1p24f &&
                    static_cast<double>(largest) <= static_cast<double>(kMostOutstanding) * mean;
  return fits ? step24(largest, kMost24) : 0;
}

PackedHeader header_of(const Matrix& matrix, const Digits& digits, WindowLayout layout, unsigned threads) {
  PackedHeader header = header_for(Form::window, matrix);
  header.grid = digits.grid;
  header.scale8 = digits.scale8;
  header.scale16 = digits.scale16;
  if (layout == WindowLayout::digits24) {
    if (digits.grid == Grid::none) header.scale16 = scale24(matrix, threads);
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

// The sums of each row's digits: plane by plane, the rows in order, zeros for those that the last group lacks.
std::vector<std::int32_t> sums_of(const Matrix& matrix, const RowOrder& rows, const std::vector<std::int8_t>& planes,
                                  std::size_t centroids, std::size_t lanes, unsigned threads) {
  constexpr std::size_t kMostPlanes = 4;
  const std::size_t count = planes.size() / centroids;
  // the digits of a centroid, from 0 to 255, in 32 bits each: a row has at most 2^23 survivors
  std::vector<std::array<std::uint64_t, kMostPlanes / 2>> digits(centroids);
  for (std::size_t i = 0; i < planes.size(); ++i) {
    const std::size_t plane = i / centroids;
    digits[i % centroids][plane / 2] |= static_cast<std::uint64_t>(planes[i] + 128) << (32 * (plane % 2));
  }
  std::vector<std::int32_t> sums(count * lanes);
  share_spans(threads, rows.order.size(), [&](std::size_t begin, std::size_t end) {
    for (std::size_t lane = begin; lane < end; ++lane) {
      const std::uint32_t row = rows.order[lane];
      std::array<std::uint64_t, kMostPlanes / 2> sum{};
      for (std::uint64_t i = rows.before[row]; i < rows.before[row + 1]; ++i) {
        for (std::size_t half = 0; half < sum.size(); ++half) sum[half] += digits[matrix.codes[i]][half];
      }
      const auto survivors = static_cast<std::int64_t>(rows.before[row + 1] - rows.before[row]);
      for (std::size_t plane = 0; plane < count; ++plane) {
        const auto found = static_cast<std::uint32_t>(sum[plane / 2] >> (32 * (plane % 2)));
        sums[plane * lanes + lane] = static_cast<std::int32_t>(std::int64_t{found} - 128 * survivors);
      }
    }
  });
  return sums;
}

// Groups that a thread packs at once.
constexpr std::size_t kRun = 8;

// One thread packs fewer survivors in 4 ms. It takes as long to wake another one, or to start it.
constexpr std::size_t kFewSurvivors = std::size_t{1} << 19;

}  // namespace

bool digits24_fits(const Matrix& matrix, const Digits& digits, unsigned threads) {
  return digits.grid == Grid::int16 || (digits.grid == Grid::none && scale24(matrix, threads) > 0);
}

PageBytes pack_window(const Matrix& matrix, const Digits& digits, WindowLayout layout, unsigned threads) {
  check(matrix, digits);
  if (matrix.codes.size() < kFewSurvivors) threads = 1;
  PackedHeader header = header_of(matrix, digits, layout, threads);
  const WindowShape shape(header);
  RowOrder rows = order_rows(matrix, shape.group_rows, threads);
  const std::size_t groups = (rows.order.size() + shape.group_rows - 1) / shape.group_rows;
  std::vector<WindowGroups> runs((groups + kRun - 1) / kRun);
  share_items(threads, runs.size(), [&](std::size_t run, unsigned) {
    runs[run] = pack_groups(header, matrix, rows, run * kRun, std::min((run + 1) * kRun, groups));
  });
  std::vector<std::uint32_t> ends;
  for (const WindowGroups& run : runs) {
    for (const std::uint32_t pairs : run.pairs) ends.push_back((ends.empty() ? 0 : ends.back()) + pairs);
  }
  header.units = static_cast<std::uint32_t>(groups);
  header.length = ends.empty() ? 0 : ends.back();
  const std::size_t centroids = std::size_t{1} << header.code_bits, lanes = shape.group_rows * groups;
  const std::vector<std::int8_t> planes = planes_of(header, matrix, digits);
  const std::vector<std::int32_t> sums = sums_of(matrix, rows, planes, centroids, lanes, threads);
  rows.order.resize(lanes, kNoRow);
  SectionWriter sections;
  sections.add(matrix.codebook, centroids);
  sections.add(planes);
  sections.add(ends);
  sections.add(rows.order);
  sections.add(sums);
  sections.add_joined(runs, &WindowGroups::starts);
  sections.add_joined(runs, &WindowGroups::fifths);
  sections.add_joined(runs, &WindowGroups::stream);
  return sections.packed(header);
}

}  // namespace dcz
