// For all fuzz targets: numbers from an input, decoders that may refuse it, and checks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "common/error.hpp"

namespace dcz::fuzz {

using Bytes = std::span<const std::uint8_t>;

// The most elements of an input.
inline constexpr std::uint64_t kMostElements = 1u << 20;

// Numbers come from the front, four bytes each, zeros behind the end; the decoder gets the rest.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

  std::uint64_t number(std::uint64_t least, std::uint64_t most) {
    const std::size_t taken = std::min<std::size_t>(4, rest_.size());
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < taken; ++i) value |= std::uint64_t{rest_[i]} << (8 * i);
    rest_ = rest_.subspan(taken);
    return value < least || value > most ? least + value % (most - least + 1) : value;
  }

  // Small counts as often as large ones.
  std::size_t count(unsigned most_bits) {
    const auto bits = number(0, most_bits);
    return static_cast<std::size_t>(number(0, std::uint64_t{1} << bits));
  }

  // Of a tensor with at most `most` elements, axes of length 0 counted as 1.
  std::vector<std::uint64_t> shape(std::uint64_t most) {
    std::vector<std::uint64_t> axes(number(0, 5));
    for (std::uint64_t& axis : axes) {
      axis = number(0, most);
      most /= std::max<std::uint64_t>(axis, 1);
    }
    return axes;
  }

  Bytes rest() const { return rest_; }

 private:
  Bytes rest_;
};

inline void check(bool holds) {
  if (!holds) std::abort();
}

// Whether bytes are refused. Any other exception ends the run.
template <typename Decode>
bool refused(const Decode& decode) {
  try {
    decode();
  } catch (const FormatError&) {
    return true;
  }
  return false;
}

// A pseudo-random number for each i.
inline std::uint64_t scattered(std::uint64_t i) {
  i = (i + 1) * 0x9e3779b97f4a7c15u;
  i = (i ^ i >> 30) * 0xbf58476d1ce4e5b9u;
  return i ^ i >> 27;
}

// Many symbols from few bytes, in the same proportions.
inline std::vector<std::uint8_t> spread(Bytes bytes, std::size_t count) {
  std::vector<std::uint8_t> symbols(bytes.empty() ? 0 : count);
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    symbols[i] = count <= bytes.size() ? bytes[i] : bytes[scattered(i) % bytes.size()];
  }
  return symbols;
}

}  // namespace dcz::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
