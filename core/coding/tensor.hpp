// Tensors of a file: the table of dtypes, a tensor as coders see it, and a shared one (docs/format.md, "Index").
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dcz {

struct Dtype {
  std::string_view name;
  unsigned bits;        // of an element
  bool weight = false;  // can be pruned and shared

  // Of an element as coders see it; a dtype of other sizes is coded as one row of these ("Rows").
  unsigned item_bytes() const { return bits == 128 ? 8 : bits < 8 ? 1 : bits / 8; }
  bool is_row() const { return bits != 8 * item_bytes(); }
};

// By their numbers in the index.
inline constexpr std::array kDtypes{
    Dtype{"F64", 64, true},  Dtype{"F32", 32, true}, Dtype{"F16", 16, true}, Dtype{"BF16", 16, true},
    Dtype{"F8_E4M3", 8},     Dtype{"F8_E5M2", 8},    Dtype{"I64", 64},       Dtype{"I32", 32},
    Dtype{"I16", 16},        Dtype{"I8", 8},         Dtype{"U64", 64},       Dtype{"U32", 32},
    Dtype{"U16", 16},        Dtype{"U8", 8},         Dtype{"BOOL", 8},       Dtype{"C64", 64},
    Dtype{"C128", 128},      Dtype{"C32", 32},       Dtype{"F8_E8M0", 8},    Dtype{"F8_E4M3FNUZ", 8},
    Dtype{"F8_E5M2FNUZ", 8}, Dtype{"F6_E2M3", 6},    Dtype{"F6_E3M2", 6},    Dtype{"F4", 4},
    Dtype{"I4", 4},          Dtype{"U4", 4},         Dtype{"I2", 2},         Dtype{"U2", 2},
};

inline constexpr std::string_view kWeightNames = "F64, F32, F16, BF16";

using Shape = std::vector<std::uint64_t>;

// Bytes of a dense tensor; nothing for 2^63 or more, with axes of length 0 counted as 1.
std::optional<std::uint64_t> size_bytes(const Dtype& dtype, std::span<const std::uint64_t> shape);

std::string to_text(std::span<const std::uint64_t> shape);

// A tensor as coders see it: itself, or the row that holds it. `bytes` are those of its elements.
struct Stored {
  const Dtype& dtype;
  Shape shape;
  std::uint64_t bytes;

  unsigned item_bytes() const { return dtype.item_bytes(); }
  std::uint64_t size() const { return bytes / item_bytes(); }
};

Stored stored_as(const Dtype& dtype, std::span<const std::uint64_t> shape, std::uint64_t bytes);

// A pruned and shared tensor. Element i survives if bit i % 8 of byte i / 8 is set; all others are zero.
struct SharedTensor {
  std::vector<std::uint8_t> bitmap;
  std::vector<std::uint8_t> codebook;  // elements of the dtype, little-endian
  std::vector<std::uint8_t> codes;     // the centroid of each survivor, in C order
};

// The element of a weight dtype whose integer in the order of values this is ("Codebook"), and the inverse.
std::uint64_t unordered_bits(std::uint64_t ordered, unsigned width);
std::uint64_t ordered_bits(std::uint64_t bits, unsigned width);

// The elements for integers of that order, little-endian.
std::vector<std::uint8_t> codebook_of(std::span<const std::uint64_t> ordered, unsigned item_bytes);

}  // namespace dcz
