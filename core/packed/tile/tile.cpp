// The form `tile`: packing, sections, and the choice of kernels and threads.
#include "packed/tile/tile.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>
#include <string>

#include "common/bitmap.hpp"
#include "common/pool.hpp"
#include "packed/tile/kernel.hpp"

namespace dcz {
namespace {

// Bytes that kernels may read behind the codes.
constexpr std::size_t kSlack = 64;

std::size_t row_bytes_of(const PackedHeader& header) { return (header.columns + 7) / 8; }

// The sections that packing makes.
struct Parts {
  std::vector<std::uint32_t> starts;
  std::vector<std::uint8_t> bits, nibbles;
};

Parts parts_of(const Matrix& matrix, std::size_t row_bytes, bool nibbles) {
  Parts parts;
  const Bitmap bitmap(matrix.bitmap, matrix.rows * matrix.columns);
  std::uint32_t before = 0;
  parts.bits.reserve(row_bytes * matrix.rows);
  for (std::uint64_t row = 0; row < matrix.rows; ++row) {
    parts.starts.push_back(before);
    for (std::size_t i = 0; i < row_bytes; ++i) {
      const std::uint64_t left = std::min<std::uint64_t>(8, matrix.columns - 8 * i);
      const auto byte = static_cast<std::uint8_t>(bitmap.window(row * matrix.columns + 8 * i) & ((1u << left) - 1));
      parts.bits.push_back(byte);
      before += count_ones(byte);
    }
  }
  parts.starts.push_back(before);
  if (!nibbles) return parts;
  parts.nibbles.resize(matrix.codes.size() / 2 + matrix.codes.size() % 2);
  for (std::size_t i = 0; i < matrix.codes.size(); ++i) {
    std::uint8_t& byte = parts.nibbles[i / 2];
    byte = static_cast<std::uint8_t>(byte | matrix.codes[i] << (4 * (i % 2)));
  }
  return parts;
}

}  // namespace

PageBytes pack_tile(const Matrix& matrix) {
  matrix.check();
  if (matrix.codes.size() > std::numeric_limits<std::uint32_t>::max()) {
    throw std::invalid_argument("the form tile has fewer than 2^32 survivors");
  }
  const PackedHeader header = header_for(Form::tile, matrix);
  const Parts parts = parts_of(matrix, row_bytes_of(header), header.code_bits == 4);
  const std::span<const std::uint8_t> codes = header.code_bits == 4 ? parts.nibbles : matrix.codes;
  SectionWriter sections;
  sections.add(matrix.codebook, std::size_t{1} << header.code_bits);
  sections.add(parts.starts);
  sections.add(parts.bits);
  sections.add(codes, codes.size() + kSlack);
  return sections.packed(header);
}

TileView tile_view(std::span<const std::uint8_t> packed) {
  const PackedHeader header = read_packed_header(packed);
  constexpr std::uint64_t kMost = std::uint64_t{1} << 31;
  if (header.form != Form::tile || header.rows >= kMost || header.columns >= kMost ||
      header.survivors > std::numeric_limits<std::uint32_t>::max()) {
    throw std::invalid_argument("packed weights of the form tile that contradict themselves");
  }
  SectionReader sections(packed);
  TileView view{};
  view.header = header;
  view.row_bytes = row_bytes_of(header);
  view.codebook = sections.next<float>(std::size_t{1} << header.code_bits);
  view.starts = sections.next<std::uint32_t>(header.rows + 1);
  view.bitmap = sections.next<std::uint8_t>(view.row_bytes * header.rows);
  const std::size_t code_bytes = header.code_bits == 4 ? (header.survivors + 1) / 2 : header.survivors;
  view.codes = sections.next<std::uint8_t>(code_bytes + kSlack);
  sections.finish();
  return view;
}

void check_tile(const TileView& view) {
  const PackedHeader& header = view.header;
  std::uint64_t survivors = 0;
  for (std::size_t row = 0; row < header.rows; ++row) {
    if (view.starts[row] != survivors) throw std::invalid_argument("packed weights with a row that begins elsewhere");
    const std::uint8_t* const bits = view.bitmap + row * view.row_bytes;
    survivors += count_bits({bits, view.row_bytes}, 0, 8 * view.row_bytes);
    if (header.columns % 8 != 0 && bits[view.row_bytes - 1] >> (header.columns % 8) != 0) {
      throw std::invalid_argument("packed weights with survivors behind the last column");
    }
  }
  if (survivors != header.survivors || view.starts[header.rows] != survivors) {
    throw std::invalid_argument("packed weights with another number of survivors than they say");
  }
  for (std::size_t i = 0; i < survivors; ++i) {
    const unsigned code = header.code_bits == 4 ? code_at<true>(view, i) : code_at<false>(view, i);
    if (code >= header.centroids) throw std::invalid_argument("packed weights with a code outside of the codebook");
  }
}

void decode_tile(std::span<const std::uint8_t> packed, const RowNumbers& rows, float* out, unsigned threads) {
  const TileView view = tile_view(packed);
  const TileTask task{&view, rows, out};
  DecodeTile& kernel = kDecodeTile.in_use();
  share_parts(threads,
              [&](unsigned part) { kernel(task, rows.count * part / threads, rows.count * (part + 1) / threads); });
}

}  // namespace dcz
