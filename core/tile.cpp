// The form `tile`: packing, finding its sections, and which kernel and thread decodes which rows.
#include "tile.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <stdexcept>
#include <string>

#include "bitmap.hpp"
#include "cpu.hpp"
#include "pool.hpp"
#include "tile_kernel.hpp"

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

// Writes the rows, one after the other, into their sections.
class Packer {
 public:
  Packer(const PackedHeader& header, std::uint8_t* packed)
      : header_(header), packed_(packed), layout_(layout_of(header)), codes_(header.columns, kNone) {}

  // `codes` has the code of each column, or kNone, which it has again afterwards.
  void add(std::size_t row) {
    const std::size_t taps = header_.length, channels = header_.columns / taps;
    start(row);
    std::uint8_t* const bits = packed_ + layout_.bitmap + row * row_bytes_of(header_);
    std::size_t column = 0;
    for (std::size_t tap = 0; tap < taps; ++tap) {
      for (std::size_t channel = 0; channel < channels; ++channel, ++column) {
        std::uint16_t& code = codes_[channel * taps + tap];
        if (code == kNone) continue;
        bits[column / 8] = static_cast<std::uint8_t>(bits[column / 8] | 1u << (column % 8));
        put_code(code);
        code = kNone;
      }
    }
  }

  void start(std::size_t row) {
    const auto before = static_cast<std::uint32_t>(survivors_);
    std::memcpy(packed_ + layout_.starts + sizeof before * row, &before, sizeof before);
  }

  std::vector<std::uint16_t>& codes() { return codes_; }

 private:
  static constexpr std::uint16_t kNone = 0xffff;

  void put_code(std::uint16_t code) {
    const bool nibbles = header_.code_bits == 4;
    std::uint8_t& byte = packed_[layout_.codes + (nibbles ? survivors_ / 2 : survivors_)];
    byte = static_cast<std::uint8_t>(byte | code << (nibbles ? 4 * (survivors_ % 2) : 0));
    ++survivors_;
  }

  const PackedHeader& header_;
  std::uint8_t* const packed_;
  const Layout layout_;
  std::vector<std::uint16_t> codes_;
  std::size_t survivors_ = 0;
};

PackedHeader header_of(const Matrix& matrix, std::uint64_t taps) {
  PackedHeader header{};
  header.magic = kPackedMagic;
  header.form = Form::tile;
  header.code_bits = code_bits_for(matrix.codebook.size());
  header.rows = matrix.rows;
  header.columns = matrix.columns;
  header.survivors = matrix.codes.size();
  header.centroids = static_cast<std::uint32_t>(matrix.codebook.size());
  header.length = taps;
  header.bytes = layout_of(header).bytes;
  return header;
}

DecodeTile tile_kernel() {
  switch (instruction_set()) {
#if defined(DCZ_X86)
    case InstructionSet::avx512:
      return decode_tile_avx512;
    case InstructionSet::avx2:
      return decode_tile_avx2;
#endif
    default:
      return decode_tile_portable;
  }
}

// Its task must name rows that there are.
void decode(const TileTask& task, std::size_t count, unsigned threads) {
  const std::size_t worth = 1 + count * task.view->header.columns / kElementsWorthAThread;
  const auto parts = static_cast<unsigned>(std::min({std::size_t{threads}, worth, count}));
  const DecodeTile kernel = tile_kernel();
  share_parts(parts, [&](unsigned part) { kernel(task, count * part / parts, count * (part + 1) / parts); });
}

TileView aligned_view(std::span<const std::uint8_t> packed) {
  if (reinterpret_cast<std::uintptr_t>(packed.data()) % alignof(float) != 0) {
    throw std::invalid_argument("packed weights must begin at a multiple of 4 bytes: copy them first");
  }
  return tile_view(packed);
}

}  // namespace

std::vector<std::uint8_t> pack_tile(const Matrix& matrix, std::uint64_t taps) {
  matrix.check();
  if (taps == 0 || matrix.columns % taps != 0) {
    throw std::invalid_argument("the columns must be a multiple of the taps");
  }
  if (matrix.codes.size() > std::numeric_limits<std::uint32_t>::max()) {
    throw std::invalid_argument("the form tile has fewer than 2^32 survivors");
  }
  const PackedHeader header = header_of(matrix, taps);
  std::vector<std::uint8_t> packed(header.bytes, 0);
  std::memcpy(packed.data(), &header, sizeof header);
  if (!matrix.codebook.empty()) {
    std::memcpy(packed.data() + layout_of(header).codebook, matrix.codebook.data(), matrix.codebook.size_bytes());
  }
  Packer packer(header, packed.data());
  const Bitmap bitmap(matrix.bitmap, matrix.rows * matrix.columns);
  const std::uint8_t* code = matrix.codes.data();
  for (std::uint64_t row = 0; row < matrix.rows; ++row) {
    const std::uint64_t first = row * matrix.columns;
    bitmap.each(first, first + matrix.columns, [&](std::uint64_t i) { packer.codes()[i - first] = *code++; });
    packer.add(row);
  }
  packer.start(matrix.rows);
  return packed;
}

TileView tile_view(std::span<const std::uint8_t> packed) {
  TileView view{};
  view.header = read_packed_header(packed);
  const PackedHeader& header = view.header;
  constexpr std::uint64_t kMost = std::uint64_t{1} << 31;
  if (header.form != Form::tile || header.rows >= kMost || header.columns >= kMost || header.length == 0 ||
      header.columns % header.length != 0 || header.survivors > std::numeric_limits<std::uint32_t>::max()) {
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
    for (std::size_t i = 0; i < view.row_bytes; ++i) survivors += count_ones(bits[i]);
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
