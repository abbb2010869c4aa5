// One sequence of bits <-> bytes, in the kind that takes the fewest (docs/format.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/bitmap.hpp"

namespace dcz {

enum class SequenceKind : std::uint8_t { kNone = 0, kAll = 1, kGaps = 2, kComplementGaps = 3, kPatterns = 4 };

// The kind of a sequence, and the bytes that it will take.
struct SequencePlan {
  SequenceKind kind = SequenceKind::kNone;
  unsigned parameter = 0;  // the escape of gaps, the width of patterns
  std::uint64_t bytes = 1;
};

// `natural_width` is a width of patterns worth trying: the size of a convolution's kernel.
SequencePlan plan_sequence(const Bitmap& sequence, std::uint64_t natural_width);

void put_sequence(std::vector<std::uint8_t>& bytes, const Bitmap& sequence, const SequencePlan& plan);

// Reads a sequence of `size` bits at `offset` and moves `offset` behind it.
Bitmap take_sequence(std::span<const std::uint8_t> data, std::size_t& offset, std::uint64_t size, unsigned threads);

}  // namespace dcz
