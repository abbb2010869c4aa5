// The form `wide`: packing and finding its sections.
#include "packed/wide/wide.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "packed/window/kernel.hpp"
#include "packed/window/sections.hpp"

namespace dcz {
namespace {

std::size_t windows_of(const PackedHeader& header) { return (header.slots & kTwoWindows) != 0 ? 2 : 1; }

WindowShape shape_of(const PackedHeader& header) {
  const bool digits24 = (header.slots & kDigits24) != 0, fifths = header.code_bits == 5;
  return {.group_rows = kStepRows * 2 / windows_of(header),
          .planes = digits24 ? std::size_t{4} : 1,
          .starts = windows_of(header),
          .fifth_words = fifths ? std::size_t{2} : 0};
}

std::size_t blocks_of(const PackedHeader& header) {
  const std::size_t least = 4 / windows_of(header);
  return std::max<std::size_t>(least, (header.columns + kBlockColumns - 1) / kBlockColumns);
}

// Packs one group after the other.
class Packer {
 public:
  explicit Packer(const PackedHeader& header)
      : code_bits_(header.code_bits),
        windows_(windows_of(header)),
        last_start_(static_cast<std::uint32_t>(blocks_of(header) - 4 / windows_)) {}

  void add_group(GroupRows rows) {
    while (rows.earliest() != GroupRows::kNoColumn) {
      packed.add_pair(code_bits_);
      packed.fifths.resize(packed.fifths.size() + 2, 0);
      for (std::size_t window = 0; window < windows_; ++window) add_window(rows, window);
    }
    packed.ends.push_back(static_cast<std::uint32_t>(packed.starts.size() / windows_));
  }

  PackedGroups packed;

 private:
  // Four slots a row of the last pair, as far as one window goes.
  void add_window(GroupRows& rows, std::size_t window) {
    const bool any = rows.earliest() != GroupRows::kNoColumn;
    const std::uint32_t block = any ? std::min(rows.earliest() / std::uint32_t{kBlockColumns}, last_start_)
                                    : packed.starts.back();  // the second window of a last pair
    const std::size_t columns = 4 / windows_ * kBlockColumns;
    packed.starts.push_back(static_cast<std::uint16_t>(block));
    for (std::size_t lane = 0; lane < rows.lanes.size(); ++lane) {
      GroupRows::Lane& row = rows.lanes[lane];
      for (std::size_t k = 0; k < 4 && row.pending(); ++k, ++row.next) {
        const std::size_t local = row.columns[row.next] - block * kBlockColumns;
        if (local >= columns) break;
        put_slot(window + lane / kStepRows, 4 * (lane % kStepRows) + k, local, row.codes[row.next]);
      }
    }
  }

  void put_slot(std::size_t step, std::size_t byte, std::size_t local, std::uint8_t code) {
    std::uint8_t* const places = packed.stream.data() + packed.stream.size() - pair_bytes(code_bits_);
    std::uint8_t* const codes = places + 2 * kStepSlots;
    places[step * kStepSlots + byte] =
        static_cast<std::uint8_t>(local / kBlockColumns * kBlockElements + local % kBlockColumns);
    if (code_bits_ == 8) {
      codes[step * kStepSlots + byte] = code;
    } else {
      codes[byte] = static_cast<std::uint8_t>(codes[byte] | (code & 15) << (4 * step));
      packed.fifths[packed.fifths.size() - 2 + step] |= std::uint64_t{code} >> 4 << byte;
    }
  }

  const std::uint8_t code_bits_;
  const std::size_t windows_;
  const std::uint32_t last_start_;
};

// A scale by which 24 bits hold the codebook well enough, a power of two, so that centroids are rounded once at most; 0
// if there is none.
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

// Adds three planes of balanced digits to the one there is.
void add_planes24(const Matrix& matrix, float scale, DigitPlanes& planes) {
  planes.resize(4, std::vector<std::int8_t>(planes[0].size()));
  for (std::size_t code = 0; code < matrix.codebook.size(); ++code) {
    // a centroid that no survivor has may be larger than all that do
    const double units = static_cast<double>(matrix.codebook[code]) / static_cast<double>(scale);
    auto left = static_cast<std::int32_t>(std::lrint(std::fmin(std::fmax(units, -kMost24), kMost24)));
    for (std::size_t plane = 1; plane < 4; ++plane) {
      planes[plane][code] = static_cast<std::int8_t>(left & 0xff);
      left = (left - planes[plane][code]) / 256;
    }
  }
}

}  // namespace

std::vector<std::uint8_t> pack_wide(const Matrix& matrix, const Digits& digits, bool two_windows) {
  check_matrix(matrix, digits, "wide");
  for (const float centroid : matrix.codebook) {
    if (!std::isfinite(centroid)) throw std::invalid_argument("the form wide takes finite centroids");
  }
  PackedHeader header = window_header(Form::wide, matrix, digits);
  DigitPlanes planes{planes_from(digits, std::size_t{1} << header.code_bits)[0]};
  if (two_windows) {
    header.slots = kTwoWindows;
    if (digits.grid == Grid::none) header.scale16 = scale24(matrix);
    if (digits.grid != Grid::int8 && header.scale16 > 0) {
      add_planes24(matrix, header.scale16, planes);
      header.slots |= kDigits24;
    }
  }
  const WindowShape shape = shape_of(header);
  const RowOrder rows = order_rows(matrix, shape.group_rows);
  Packer packer(header);
  for (std::size_t group = 0; group * shape.group_rows < rows.order.size(); ++group) {
    packer.add_group({matrix, rows, shape.group_rows, group});
  }
  return put_sections(header, shape, matrix, rows, planes, packer.packed);
}

WideView wide_view(std::span<const std::uint8_t> packed) {
  const PackedHeader header = read_packed_header(packed);
  const bool slots = header.slots == 0 || header.slots == kTwoWindows ||
                     (header.slots == (kTwoWindows | kDigits24) && header.grid != Grid::int8);
  // rows that 31 bits tell, so that they can be scattered to
  if (header.form != Form::wide || !slots || header.rows >> 31 != 0 || !groups_fit(header, shape_of(header))) {
    throw std::invalid_argument("packed weights of the form wide that contradict themselves");
  }
  WideView view{find_sections(packed, header, shape_of(header))};
  view.blocks = blocks_of(header);
  return view;
}

void check_wide(const WideView& view) { check_sections(view, windows_of(view.header), view.last_start()); }

}  // namespace dcz
