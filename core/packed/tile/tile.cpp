// The form `tile`: packing, finding its sections, and which kernel and thread decodes which rows.
#include "packed/tile/tile.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <stdexcept>
#include <string>

#include "common/bitmap.hpp"
#include "common/pool.hpp"
#include "packed/tile/kernel.hpp"

namespace dcz {
namespace {

// What kernels may read behind the codes.
constexpr std::size_t kSlack = 64;
// Elements below which a second thread would come too late.
constexpr std::size_t kElementsWorthAThread = 65536;

struct Layout {
  std::size_t codebook, starts, bitmap, codes, bytes;
};

std::size_t row_bytes_of(const PackedHeader& header) { return (header.columns + 7) / 8; }

std::size_t code_bytes_of(const PackedHeader& header) {
  return header.code_bits == 4 ? (header.survivors + 1) / 2 : header.survivors;
}

Layout layout_of(const PackedHeader& header) {
  Sections sections;
  Layout layout{};
  layout.codebook = sections.next(sizeof(float) << header.code_bits);
  layout.starts = sections.next(sizeof(std::uint32_t) * (header.rows + 1));
  layout.bitmap = sections.next(row_bytes_of(header) * header.rows);
  layout.codes = sections.next(code_bytes_of(header) + kSlack);
  layout.bytes = sections.end();
  return layout;
}

PackedHeader header_of(const Matrix& matrix) {
  PackedHeader header{};
  header.magic = kPackedMagic;
  header.form = Form::tile;
  header.code_bits = code_bits_for(matrix.codebook.size());
  header.rows = matrix.rows;
  header.columns = matrix.columns;
  header.survivors = matrix.codes.size();
  header.centroids = static_cast<std::uint32_t>(matrix.codebook.size());
  header.bytes = layout_of(header).bytes;
  return header;
}

// The bits of each row in bytes of its own, and how many survivors come before it.
void put_rows(const Matrix& matrix, std::size_t row_bytes, std::uint8_t* starts, std::uint8_t* bits) {
  const Bitmap bitmap(matrix.bitmap, matrix.rows * matrix.columns);
  std::uint32_t before = 0;
  for (std::uint64_t row = 0; row <= matrix.rows; ++row, starts += sizeof before) {
    std::memcpy(starts, &before, sizeof before);
    if (row == matrix.rows) return;
    for (std::size_t i = 0; i < row_bytes; ++i, ++bits) {
      const std::uint64_t left = std::min<std::uint64_t>(8, matrix.columns - 8 * i);
      *bits = static_cast<std::uint8_t>(bitmap.window(row * matrix.columns + 8 * i) & ((1u << left) - 1));
      before += count_ones(*bits);
    }
  }
}

void put_codes(std::span<const std::uint8_t> codes, bool nibbles, std::uint8_t* out) {
  for (std::size_t i = 0; i < codes.size(); ++i) {
    std::uint8_t& byte = out[nibbles ? i / 2 : i];
    byte = static_cast<std::uint8_t>(byte | codes[i] << (nibbles ? 4 * (i % 2) : 0));
  }
}

// Its task must name rows that there are.
void decode(const TileTask& task, std::size_t count, unsigned threads) {
  const std::size_t worth = 1 + count * task.view->header.columns / kElementsWorthAThread;
  const auto parts = static_cast<unsigned>(std::min({std::size_t{threads}, worth, count}));
  DecodeTile& kernel = kDecodeTile.in_use();
  share_parts(parts, [&](unsigned part) { kernel(task, count * part / parts, count * (part + 1) / parts); });
}

TileView aligned_view(std::span<const std::uint8_t> packed) {
  if (reinterpret_cast<std::uintptr_t>(packed.data()) % alignof(float) != 0) {
    throw std::invalid_argument("packed weights must begin at a multiple of 4 bytes: copy them first");
  }
  return tile_view(packed);
}

}  // namespace

std::vector<std::uint8_t> pack_tile(const Matrix& matrix) {
  matrix.check();
  if (matrix.codes.size() > std::numeric_limits<std::uint32_t>::max()) {
    throw std::invalid_argument("the form tile has fewer than 2^32 survivors");
  }
  const PackedHeader header = header_of(matrix);
  const Layout layout = layout_of(header);
  std::vector<std::uint8_t> packed(header.bytes, 0);
  std::uint8_t* const data = packed.data();
  std::memcpy(data, &header, sizeof header);
  std::copy_n(reinterpret_cast<const std::uint8_t*>(matrix.codebook.data()), matrix.codebook.size_bytes(),
              data + layout.codebook);
  put_rows(matrix, row_bytes_of(header), data + layout.starts, data + layout.bitmap);
  put_codes(matrix.codes, header.code_bits == 4, data + layout.codes);
  return packed;
}

TileView tile_view(std::span<const std::uint8_t> packed) {
  TileView view{};
  view.header = read_packed_header(packed);
  const PackedHeader& header = view.header;
  constexpr std::uint64_t kMost = std::uint64_t{1} << 31;
  if (header.form != Form::tile || header.rows >= kMost || header.columns >= kMost ||
      header.survivors > std::numeric_limits<std::uint32_t>::max()) {
    throw std::invalid_argument("packed weights of the form tile that contradict themselves");
  }
  const Layout layout = layout_of(header);
  if (layout.bytes != header.bytes) throw std::invalid_argument("packed weights whose sections do not fill them");
  view.row_bytes = row_bytes_of(header);
  view.codebook = reinterpret_cast<const float*>(packed.data() + layout.codebook);
  view.starts = reinterpret_cast<const std::uint32_t*>(packed.data() + layout.starts);
  view.bitmap = packed.data() + layout.bitmap;
  view.codes = packed.data() + layout.codes;
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
    const unsigned code = header.code_bits == 4 ? view.codes[i / 2] >> (4 * (i % 2)) & 15 : view.codes[i];
    if (code >= header.centroids) throw std::invalid_argument("packed weights with a code outside of the codebook");
  }
}

void decode_rows(std::span<const std::uint8_t> packed, std::size_t first, std::size_t count, float* out,
                 unsigned threads) {
  const TileView view = aligned_view(packed);
  if (first > view.header.rows || count > view.header.rows - first) {
    throw std::out_of_range("packed weights do not have that many rows");
  }
  decode({&view, nullptr, first, out}, count, threads);
}

void gather_rows(std::span<const std::uint8_t> packed, std::span<const std::int64_t> rows, float* out,
                 unsigned threads) {
  const TileView view = aligned_view(packed);
  for (const std::int64_t row : rows) {
    if (row < 0 || static_cast<std::uint64_t>(row) >= view.header.rows) {
      throw std::out_of_range("row " + std::to_string(row) + " of packed weights with " +
                              std::to_string(view.header.rows) + " rows");
    }
  }
  decode({&view, rows.data(), 0, out}, rows.size(), threads);
}

}  // namespace dcz
