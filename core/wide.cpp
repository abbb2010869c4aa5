// The form `wide`: packing and finding its sections.
#include "wide.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "window_rows.hpp"

namespace dcz {
namespace {

struct Layout {
  std::size_t codebook, digits, ends, order, sums, starts, fifths, stream, bytes;
};

std::size_t stream_bytes_of(const PackedHeader& header) { return header.code_bits == 8 ? 256 : 192; }

Layout layout_of(const PackedHeader& header) {
  Sections sections;
  const std::size_t centroids = std::size_t{1} << header.code_bits, planes = header.slots;
  const std::size_t groups = header.units, pairs = header.length;
  Layout layout{};
  layout.codebook = sections.next(sizeof(float) * centroids);
  layout.digits = sections.next(planes * centroids);
  layout.ends = sections.next(sizeof(std::uint32_t) * groups);
  layout.order = sections.next(sizeof(std::uint32_t) * kGroupRows * groups);
  layout.sums = sections.next(sizeof(std::int32_t) * kGroupRows * groups * planes);
  layout.starts = sections.next(sizeof(std::uint16_t) * pairs);
  layout.fifths = sections.next(header.code_bits == 5 ? 2 * sizeof(std::uint64_t) * pairs : 0);
  layout.stream = sections.next(stream_bytes_of(header) * pairs);
  layout.bytes = sections.end();
  return layout;
}

std::size_t blocks_of(std::uint64_t columns) {
  return std::max<std::size_t>(kWideBlocks, (columns + kBlockColumns - 1) / kBlockColumns);
}

// Packs one group after the other.
class Packer {
 public:
  Packer(std::uint8_t code_bits, std::size_t blocks)
      : code_bits_(code_bits), last_start_(static_cast<std::uint32_t>(blocks - kWideBlocks)) {}

  void add_group(GroupRows rows) {
    for (std::uint32_t column = rows.earliest(); column != GroupRows::kNoColumn; column = rows.earliest()) {
      add_pair(rows, std::min<std::uint32_t>(column / kBlockColumns, last_start_));
    }
    ends.push_back(static_cast<std::uint32_t>(starts.size()));
  }

  std::vector<std::uint32_t> ends;
  std::vector<std::uint16_t> starts;
  std::vector<std::uint64_t> fifths;  // also of codes that have none
  std::vector<std::uint8_t> stream;

 private:
  void add_pair(GroupRows& rows, std::uint32_t block) {
    const std::size_t bytes = code_bits_ == 8 ? 256 : 192, at = stream.size();
    const std::uint32_t first = block * kBlockColumns;
    starts.push_back(static_cast<std::uint16_t>(block));
    fifths.resize(fifths.size() + 2, 0);
    stream.resize(at + bytes, 0);
    std::uint8_t *const places = stream.data() + at, *const codes = places + 2 * kStepSlots;
    std::fill_n(places, 2 * kStepSlots, kNothing);
    for (std::size_t lane = 0; lane < kGroupRows; ++lane) {
      GroupRows::Lane& row = rows.lanes[lane];
      for (std::size_t slot = 0; slot < 8 && row.pending(); ++slot, ++row.next) {
        const std::uint32_t local = row.columns[row.next] - first;
        if (local >= kWideBlocks * kBlockColumns) break;
        const std::size_t step = slot / 4, byte = 4 * lane + slot % 4;
        const std::uint8_t code = row.codes[row.next];
        places[step * kStepSlots + byte] =
            static_cast<std::uint8_t>(local / kBlockColumns * kBlockElements + local % kBlockColumns);
        if (code_bits_ == 8) {
          codes[step * kStepSlots + byte] = code;
        } else {
          codes[byte] = static_cast<std::uint8_t>(codes[byte] | (code & 15) << (4 * step));
          fifths[fifths.size() - 2 + step] |= std::uint64_t{code} >> 4 << byte;
        }
      }
    }
  }

  const std::uint8_t code_bits_;
  const std::uint32_t last_start_;
};

// Fixed point of 24 bits is off by at most 2^-23 of the largest centroid: with that no more than so many times the mean
// magnitude, the error stays below that of float32 sums.
constexpr double kMostOutstanding = 16;

// Adds three planes of balanced digits, if they hold the codebook well enough, and gives their scale, which is a power
// of two, so that centroids are rounded once at most.
float add_planes24(const Matrix& matrix, DigitPlanes& planes) {
  float largest = 0;
  double sum = 0;
  for (const std::uint8_t code : matrix.codes) {
    const float magnitude = std::fabs(matrix.codebook[code]);
    largest = std::max(largest, magnitude);
    sum += static_cast<double>(magnitude);
  }
  const double mean = sum / static_cast<double>(std::max<std::size_t>(matrix.codes.size(), 1));
  if (largest < std::numeric_limits<float>::min() * 0x1p24f || static_cast<double>(largest) > kMostOutstanding * mean) {
    return 0;
  }
  int exponent;
  std::frexp(largest, &exponent);
  if (static_cast<double>(largest) > std::ldexp(static_cast<double>(kMost24), exponent - 23)) ++exponent;
  const std::size_t centroids = planes[0].size();
  for (int i = 0; i < 3; ++i) planes.emplace_back(centroids);
  for (std::size_t code = 0; code < matrix.codebook.size(); ++code) {
    // a centroid that no survivor has may be larger
    const double units = std::ldexp(static_cast<double>(matrix.codebook[code]), 23 - exponent);
    auto left = static_cast<std::int32_t>(std::lrint(std::fmin(std::fmax(units, -kMost24), kMost24)));
    for (std::size_t plane = 1; plane < 4; ++plane) {
      planes[plane][code] = static_cast<std::int8_t>(left & 0xff);
      left = (left - planes[plane][code]) / 256;
    }
  }
  return std::ldexp(1.0f, exponent - 23);
}

}  // namespace

std::vector<std::uint8_t> pack_wide(const Matrix& matrix, const Digits& digits) {
  matrix.check();
  if (matrix.columns > kBlockColumns * std::numeric_limits<std::uint16_t>::max()) {
    throw std::invalid_argument("the form wide has at most 4128705 columns");
  }
  for (const float centroid : matrix.codebook) {
    if (!std::isfinite(centroid)) throw std::invalid_argument("the form wide takes finite centroids");
  }
  check_digits(digits, matrix.codebook.size());
  PackedHeader header{};
  header.magic = kPackedMagic;
  header.form = Form::wide;
  header.code_bits = code_bits_for(matrix.codebook.size());
  header.grid = digits.grid;
  header.scale8 = digits.scale8;
  header.scale16 = digits.scale16;
  const std::size_t centroids = std::size_t{1} << header.code_bits;
  DigitPlanes planes = planes_from(digits, centroids);
  if (digits.grid == Grid::none) header.scale16 = add_planes24(matrix, planes);
  header.slots = static_cast<std::uint8_t>(planes.size());

  const SortedRows rows = sort_rows(matrix);
  Packer packer(header.code_bits, blocks_of(matrix.columns));
  for (std::size_t group = 0; group * kGroupRows < rows.order.size(); ++group) packer.add_group({matrix, rows, group});
  header.rows = matrix.rows;
  header.columns = matrix.columns;
  header.survivors = matrix.codes.size();
  header.centroids = static_cast<std::uint32_t>(matrix.codebook.size());
  header.units = static_cast<std::uint32_t>(packer.ends.size());
  header.length = packer.starts.size();
  const Layout layout = layout_of(header);
  header.bytes = layout.bytes;

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
  if (header.code_bits == 5) put(packed, layout.fifths, packer.fifths);
  put(packed, layout.stream, packer.stream);
  return packed;
}

WideView wide_view(std::span<const std::uint8_t> packed) {
  WideView view{};
  view.header = read_packed_header(packed);
  const PackedHeader& header = view.header;
  const bool planes = header.grid == Grid::int8    ? header.slots == 1
                      : header.grid == Grid::int16 ? header.slots == 3
                                                   : header.slots == 1 || header.slots == 4;
  // rows that 31 bits tell, so that they can be scattered to
  if (header.form != Form::wide || !planes || header.rows >> 31 != 0 || header.columns > kBlockColumns * 0xffff ||
      header.units != (header.rows + kGroupRows - 1) / kGroupRows) {
    throw std::invalid_argument("packed weights of the form wide that contradict themselves");
  }
  const Layout layout = layout_of(header);
  if (layout.bytes != header.bytes) throw std::invalid_argument("packed weights whose sections do not fill them");
  view.blocks = blocks_of(header.columns);
  view.planes = header.slots;
  view.stream_bytes = stream_bytes_of(header);
  const std::uint8_t* const data = packed.data();
  view.codebook = reinterpret_cast<const float*>(data + layout.codebook);
  view.digits = reinterpret_cast<const std::int8_t*>(data + layout.digits);
  view.ends = reinterpret_cast<const std::uint32_t*>(data + layout.ends);
  view.order = reinterpret_cast<const std::uint32_t*>(data + layout.order);
  view.sums = reinterpret_cast<const std::int32_t*>(data + layout.sums);
  view.starts = reinterpret_cast<const std::uint16_t*>(data + layout.starts);
  view.fifths = data + layout.fifths;
  view.stream = data + layout.stream;
  return view;
}

void check_wide(const WideView& view) {
  check_groups(view);
  for (std::size_t pair = 0; pair < view.pairs(); ++pair) {
    if (view.starts[pair] > view.last_start()) {
      throw std::invalid_argument("packed weights with a window behind the last column");
    }
  }
}

}  // namespace dcz
