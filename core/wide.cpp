// The form `wide`: packing and finding its sections.
#include "wide.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "window_kernel.hpp"
#include "window_rows.hpp"

namespace dcz {
namespace {

struct Layout {
  std::size_t codebook, digits, ends, order, sums, starts, fifths, stream, bytes;
};

std::size_t planes_of(const PackedHeader& header) { return (header.slots & kDigits24) != 0 ? 4 : 1; }
std::size_t windows_of(const PackedHeader& header) { return (header.slots & kTwoWindows) != 0 ? 2 : 1; }
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
  layout.starts = sections.next(sizeof(std::uint16_t) * windows_of(header) * pairs);
  layout.fifths = sections.next(header.code_bits == 5 ? 2 * sizeof(std::uint64_t) * pairs : 0);
  layout.stream = sections.next(stream_bytes_of(header) * pairs);
  layout.bytes = sections.end();
  return layout;
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
      add_pair();
      for (std::size_t window = 0; window < windows_; ++window) add_window(rows, window * 8 / windows_);
    }
    ends.push_back(static_cast<std::uint32_t>(starts.size() / windows_));
  }

  std::vector<std::uint32_t> ends;
  std::vector<std::uint16_t> starts;
  std::vector<std::uint64_t> fifths;  // also of codes that have none
  std::vector<std::uint8_t> stream;

 private:
  std::size_t pair_bytes() const { return code_bits_ == 8 ? 256 : 192; }

  void add_pair() {
    fifths.resize(fifths.size() + 2, 0);
    const std::size_t at = stream.size();
    stream.resize(at + pair_bytes(), 0);
    std::fill_n(stream.begin() + static_cast<std::ptrdiff_t>(at), 2 * kStepSlots, kNothing);
  }

  // The slots of the last pair from `slot` on, as far as one window goes.
  void add_window(GroupRows& rows, std::size_t slot) {
    const bool any = rows.earliest() != GroupRows::kNoColumn;
    const std::uint32_t block = any ? std::min(rows.earliest() / std::uint32_t{kBlockColumns}, last_start_)
                                    : starts.back();  // the second window of a last pair
    const std::size_t columns = 4 / windows_ * kBlockColumns;
    starts.push_back(static_cast<std::uint16_t>(block));
    for (std::size_t lane = 0; lane < kGroupRows; ++lane) {
      GroupRows::Lane& row = rows.lanes[lane];
      for (std::size_t k = slot; k < slot + 8 / windows_ && row.pending(); ++k, ++row.next) {
        const std::size_t local = row.columns[row.next] - block * kBlockColumns;
        if (local >= columns) break;
        put_slot(k / 4, 4 * lane + k % 4, local, row.codes[row.next]);
      }
    }
  }

  void put_slot(std::size_t step, std::size_t byte, std::size_t local, std::uint8_t code) {
    std::uint8_t *const places = stream.data() + stream.size() - pair_bytes(), *const codes = places + 2 * kStepSlots;
    places[step * kStepSlots + byte] =
        static_cast<std::uint8_t>(local / kBlockColumns * kBlockElements + local % kBlockColumns);
    if (code_bits_ == 8) {
      codes[step * kStepSlots + byte] = code;
    } else {
      codes[byte] = static_cast<std::uint8_t>(codes[byte] | (code & 15) << (4 * step));
      fifths[fifths.size() - 2 + step] |= std::uint64_t{code} >> 4 << byte;
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
  header.rows = matrix.rows;
  header.columns = matrix.columns;
  header.scale8 = digits.scale8;
  header.scale16 = digits.grid == Grid::none && two_windows ? scale24(matrix) : digits.scale16;
  const std::size_t centroids = std::size_t{1} << header.code_bits;
  DigitPlanes planes{planes_from(digits, centroids)[0]};
  if (two_windows) header.slots = kTwoWindows;
  if (two_windows && digits.grid != Grid::int8 && header.scale16 > 0) {
    add_planes24(matrix, header.scale16, planes);
    header.slots |= kDigits24;
  }

  const SortedRows rows = sort_rows(matrix);
  Packer packer(header);
  for (std::size_t group = 0; group * kGroupRows < rows.order.size(); ++group) packer.add_group({matrix, rows, group});
  header.survivors = matrix.codes.size();
  header.centroids = static_cast<std::uint32_t>(matrix.codebook.size());
  header.units = static_cast<std::uint32_t>(packer.ends.size());
  header.length = packer.starts.size() / windows_of(header);
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
  const bool slots = header.slots == 0 || header.slots == kTwoWindows ||
                     (header.slots == (kTwoWindows | kDigits24) && header.grid != Grid::int8);
  // rows that 31 bits tell, so that they can be scattered to
  if (header.form != Form::wide || !slots || header.rows >> 31 != 0 || header.columns > kBlockColumns * 0xffff ||
      header.units != (header.rows + kGroupRows - 1) / kGroupRows) {
    throw std::invalid_argument("packed weights of the form wide that contradict themselves");
  }
  const Layout layout = layout_of(header);
  if (layout.bytes != header.bytes) throw std::invalid_argument("packed weights whose sections do not fill them");
  view.blocks = blocks_of(header);
  view.planes = planes_of(header);
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
  for (std::size_t i = 0; i < windows_of(view.header) * view.pairs(); ++i) {
    if (view.starts[i] > view.last_start()) {
      throw std::invalid_argument("packed weights with a window behind the last column");
    }
  }
}

}  // namespace dcz
