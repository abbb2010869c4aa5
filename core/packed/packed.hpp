// The packed forms of a matrix, which kernels compute from: one run of bytes that describes itself.
//
// A header of 64 bytes, then sections that each begin at a multiple of 64. All numbers are little-endian.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace dcz {

static_assert(std::endian::native == std::endian::little, "packed forms are made and read on little-endian CPUs");

enum class Form : std::uint8_t { window = 1, panel = 2, tile = 3, quad = 4, factored = 5 };

// How a codebook lies on a grid: each centroid is scale * digit, exactly, with digits of so many bits.
enum class Grid : std::uint8_t { none = 0, int8 = 8, int16 = 16 };

struct PackedHeader {
  std::array<char, 4> magic;
  Form form;
  std::uint8_t code_bits;  // 4, 5 or 8
  Grid grid;
  std::uint8_t layout;  // WindowLayout, of `window`; else 0
  std::uint64_t rows, columns, survivors;
  std::uint32_t centroids;
  std::uint32_t units;   // groups of rows or panels: what threads share; 0 in the form tile
  std::uint64_t length;  // of the stream, in the form's own measure; 0 in the form tile
  float scale8;          // centroid = about scale8 * int8 digit; exact with Grid::int8
  float scale16;         // centroid = scale16 * int16 digit, with Grid::int16
  std::uint64_t bytes;   // of everything
};
static_assert(sizeof(PackedHeader) == 64);

inline constexpr std::array<char, 4> kPackedMagic{'d', 'c', 'p', '1'};
inline constexpr std::size_t kSectionBytes = 64;

// The header, if these are the bytes of a packed matrix, all of them. Throws std::invalid_argument.
PackedHeader read_packed_header(std::span<const std::uint8_t> packed);

// The code width for so many centroids: 4, 5 or 8 bits.
inline std::uint8_t code_bits_for(std::size_t centroids) { return centroids <= 16 ? 4 : centroids <= 32 ? 5 : 8; }

inline std::size_t round_up(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Gives out the sections one after the other; the same calls in the same order lay them out and find them again.
class Sections {
 public:
  // The offset of a section of so many bytes.
  std::size_t next(std::size_t bytes) {
    const std::size_t at = end_;
    end_ = round_up(end_ + bytes, kSectionBytes);
    return at;
  }
  std::size_t end() const { return end_; }

 private:
  std::size_t end_ = sizeof(PackedHeader);
};

// The rows of a matrix as they come out of a file: element r * columns + c survives if its bit is set; `codes` has the
// centroid of each survivor, in that order.
struct Matrix {
  std::uint64_t rows, columns;
  std::span<const std::uint8_t> bitmap;
  std::span<const std::uint8_t> codes;
  std::span<const float> codebook;

  // Throws std::invalid_argument if the parts do not fit together.
  void check() const;
};

}  // namespace dcz
