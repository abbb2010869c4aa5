// Rows into groups: they are split again and again, by the number in which they differ most.
#include "packed/row_order.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <numeric>
#include <span>

#include "common/bit_walk.hpp"

namespace dcz {
namespace {

// Columns that make a part of their own, and the most parts: with more of them, rows are less alike in each.
constexpr std::uint64_t kPartColumns = 600, kMostParts = 4;

// About so many neighbouring rows are ordered among themselves. Two threads then write to different parts of y: cache
// lines that both write to would travel between their cores. That takes longer than the 1 % more slots.
constexpr std::size_t kTogether = 1024;

// The weight of a row's sum against the difference of its halves. One more survivor in all columns certainly costs the
// group slots; one more in a part may be made up for in another.
constexpr double kSumCounts = 9;

// The survivors of a row: all; the excess of the left half over the right; the same for the halves of each half.
using Profile = std::array<std::int32_t, kMostParts>;

class Profiles {
 public:
  Profiles(const Matrix& matrix, std::size_t group_rows, RowOrder& rows)
      : group_rows_(group_rows),
        parts_(std::bit_floor(std::clamp<std::uint64_t>(matrix.columns / kPartColumns, 1, kMostParts))),
        profiles_(rows.order.size()) {
    for (std::size_t row = 0; row < profiles_.size(); ++row) {
      profiles_[row] = profile_of(matrix, row);
      rows.before[row + 1] = rows.before[row] + static_cast<std::uint64_t>(profiles_[row][0]);
    }
  }

  // Orders rows by groups, those with the most survivors first.
  void split(std::span<std::uint32_t> rows) const {
    const std::size_t groups = (rows.size() + group_rows_ - 1) / group_rows_;
    const std::size_t by = groups > 1 ? most_different(rows) : 0;
    const auto before = [&](std::uint32_t a, std::uint32_t b) {
      const std::int32_t first = profiles_[a][by], second = profiles_[b][by];
      return first != second ? first > second : a < b;
    };
    if (groups <= 1) return std::sort(rows.begin(), rows.end(), before);
    const std::size_t middle = groups / 2 * group_rows_;
    std::nth_element(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(middle), rows.end(), before);
    split(rows.first(middle));
    split(rows.subspan(middle));
  }

 private:
  Profile profile_of(const Matrix& matrix, std::uint64_t row) const {
    Profile sums{}, profile{};
    for (std::uint64_t part = 0; part < parts_; ++part) {
      const std::uint64_t first = matrix.columns * part / parts_, last = matrix.columns * (part + 1) / parts_;
      const std::uint64_t begin = row * matrix.columns;
      sums[part] = static_cast<std::int32_t>(count_bits(matrix.bitmap, begin + first, begin + last));
    }
    for (std::uint64_t half = parts_ / 2; half > 0; half /= 2) {
      for (std::uint64_t i = 0; i < half; ++i) {
        profile[half + i] = sums[2 * i] - sums[2 * i + 1];
        sums[i] = sums[2 * i] + sums[2 * i + 1];
      }
    }
    profile[0] = sums[0];
    return profile;
  }

  // The index of the number in which these rows differ most. Random survivors vary with the number of columns.
  std::size_t most_different(std::span<const std::uint32_t> rows) const {
    std::size_t found = 0;
    double most = -1;
    for (std::size_t i = 0; i < parts_; ++i) {
      double sum = 0, squares = 0;
      for (const std::uint32_t row : rows) {
        const double value = profiles_[row][i];
        sum += value;
        squares += value * value;
      }
      const double weight = i == 0 ? kSumCounts : static_cast<double>(std::bit_floor(i));
      const double spread = weight * (squares - sum * sum / static_cast<double>(rows.size()));
      if (spread > most) found = i, most = spread;
    }
    return found;
  }

  const std::size_t group_rows_;
  const std::uint64_t parts_;
  std::vector<Profile> profiles_;
};

}  // namespace

RowOrder order_rows(const Matrix& matrix, std::size_t group_rows) {
  const auto rows = static_cast<std::size_t>(matrix.rows);
  RowOrder found{std::vector<std::uint64_t>(rows + 1, 0), std::vector<std::uint32_t>(rows)};
  std::iota(found.order.begin(), found.order.end(), 0);
  const Profiles profiles(matrix, group_rows, found);
  const std::size_t groups = (rows + group_rows - 1) / group_rows;
  const std::size_t parts = std::max<std::size_t>(1, (rows + kTogether / 2) / kTogether);
  for (std::size_t part = 0; part < parts; ++part) {
    const std::size_t first = groups * part / parts * group_rows;
    const std::size_t last = std::min(groups * (part + 1) / parts * group_rows, rows);
    profiles.split(std::span(found.order).subspan(first, last - first));
  }
  return found;
}

}  // namespace dcz
