// Packed weights: a matrix in one of several forms, from which kernels compute. The bytes describe themselves.
//
// A header of 64 bytes comes first, then sections that each begin at a multiple of 64. All numbers are little-endian.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "common/page_bytes.hpp"

namespace dcz {

static_assert(std::endian::native == std::endian::little, "packed weights are made and read on little-endian CPUs");

enum class Form : std::uint8_t { window = 1, panel = 2, tile = 3, quad = 4, factored = 5, word = 6 };

// The grid of a codebook: each centroid is scale * digit, exactly. Digits have so many bits.
enum class Grid : std::uint8_t { none = 0, int8 = 8, int16 = 16 };

struct PackedHeader {
  std::array<char, 4> magic;
  Form form;
  std::uint8_t code_bits;  // 4, 5 or 8
  Grid grid;
  std::uint8_t layout;  // a WindowLayout in the form window; in the form word its pairs and parts; else 0
  std::uint64_t rows, columns, survivors;
  std::uint32_t centroids;
  std::uint32_t units;   // groups of rows, panels or blocks, which threads share; 0 in the form tile
  std::uint64_t length;  // of the stream: pairs of steps or turns; 0 in the form tile
  float scale8;          // centroid = about scale8 * int8 digit; exact with Grid::int8
  float scale16;         // centroid = scale16 * int16 digit, with Grid::int16
  std::uint64_t bytes;   // of header and sections
};
static_assert(sizeof(PackedHeader) == 64);

inline constexpr std::size_t kSectionBytes = 64;

// Checks that these bytes are packed weights, all of them. Throws std::invalid_argument.
PackedHeader read_packed_header(std::span<const std::uint8_t> packed);

// Kernels read float32 in place. Throws std::invalid_argument for bytes that begin at no multiple of 4.
void check_aligned(std::span<const std::uint8_t> packed);

// The code width for so many centroids: 4, 5 or 8 bits.
inline std::uint8_t code_bits_for(std::size_t centroids) { return centroids <= 16 ? 4 : centroids <= 32 ? 5 : 8; }

// Calls run(code_bits), a constant.
template <typename Run>
void by_code_bits(const PackedHeader& header, const Run& run) {
  switch (header.code_bits) {
    case 4:
      return run(std::integral_constant<unsigned, 4>{});
    case 5:
      return run(std::integral_constant<unsigned, 5>{});
    default:
      return run(std::integral_constant<unsigned, 8>{});
  }
}

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

// Finds the sections in the order of a SectionWriter. Both functions throw std::invalid_argument.
class SectionReader {
 public:
  explicit SectionReader(std::span<const std::uint8_t> packed) : packed_(packed) {}

  template <typename T>
  const T* next(std::size_t count) {
    return reinterpret_cast<const T*>(section(sizeof(T) * count));
  }

  // The sections must fill the bytes.
  void finish() const;

 private:
  const std::uint8_t* section(std::size_t bytes);

  std::span<const std::uint8_t> packed_;
  Sections sections_;
};

class SectionWriter {
 public:
  // Values, and zeros up to `count` of them. The values must stay until `packed`.
  template <typename T>
  void add(std::span<const T> values, std::size_t count) {
    parts_.push_back({std::as_bytes(values), sections_.next(sizeof(T) * count)});
  }
  template <typename T>
  void add(const std::vector<T>& values) {
    add(std::span<const T>(values), values.size());
  }

  // One section of what all parts have under a member.
  template <typename Part, typename T>
  void add_joined(const std::vector<Part>& parts, std::vector<T> Part::* member) {
    std::size_t count = 0;
    for (const Part& part : parts) count += (part.*member).size();
    std::size_t at = sections_.next(sizeof(T) * count);
    for (const Part& part : parts) {
      const std::span<const T> values(part.*member);
      parts_.push_back({std::as_bytes(values), at});
      at += values.size_bytes();
    }
  }

  // The header, with its number of bytes, and the sections.
  PageBytes packed(PackedHeader header) const;

 private:
  struct Part {
    std::span<const std::byte> bytes;
    std::size_t at;
  };

  Sections sections_;
  std::vector<Part> parts_;
};

// The rows of a matrix as a file stores them: element r * columns + c survives if its bit is set. `codes` has the
// centroid of each survivor, in that order.
struct Matrix {
  std::uint64_t rows, columns;
  std::span<const std::uint8_t> bitmap;
  std::span<const std::uint8_t> codes;
  std::span<const float> codebook;

  // Throws std::invalid_argument if the parts do not fit together.
  void check() const;
};

// The rows to decode: those that `numbers` names, or those from `first` on if it is null.
struct RowNumbers {
  const std::int64_t* numbers;
  std::size_t first, count;

  std::size_t at(std::size_t i) const { return numbers ? static_cast<std::size_t>(numbers[i]) : first + i; }
};

// A form's header, without the fields of its stream, its grid and its layout.
PackedHeader header_for(Form form, const Matrix& matrix);

}  // namespace dcz
