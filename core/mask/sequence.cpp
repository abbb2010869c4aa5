// One sequence of bits <-> bytes, in the kind that takes the fewest (docs/format.md).
#include "mask/sequence.hpp"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "block/block.hpp"
#include "common/error.hpp"
#include "common/fields.hpp"
#include "common/log2.hpp"
#include "mask/gap_bytes.hpp"
#include "mask/patterns.hpp"

namespace dcz {
namespace {

// Escapes worth trying. Neighbours differ little, but the one that suits Huffman's whole bits is hard to foresee.
std::vector<unsigned> escapes_for(const GapHistogram& gaps, std::uint64_t size) {
  const unsigned most = gaps.useful_escape();
  const auto mean = static_cast<double>(size) / static_cast<double>(gaps.ones());
  std::vector<unsigned> escapes;
  for (unsigned escape = 1; escape < most; escape += 1 + escape / 8) {
    if (escape > mean / 2 && escape < 8 * mean + 8) escapes.push_back(escape);
  }
  escapes.push_back(most);
  return escapes;
}

std::uint64_t gap_bytes(const GapHistogram& gaps, unsigned escape) {
  const auto counts = gaps.symbol_counts(escape);
  return 2 + varint_bytes(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0})) + block_bytes(counts);
}

void try_gaps(SequencePlan& best, const Bitmap& sequence, SequenceKind kind) {
  const GapHistogram gaps(sequence);
  const auto consider = [&](unsigned escape) {
    const std::uint64_t bytes = gap_bytes(gaps, escape);
    if (bytes < best.bytes) best = {kind, escape, bytes};
  };
  for (const unsigned escape : escapes_for(gaps, sequence.size())) consider(escape);
  const unsigned near = best.parameter;
  for (unsigned escape = near - std::min(near - 1, 3u); escape <= std::min(near + 3, gaps.useful_escape()); ++escape) {
    if (escape != near) consider(escape);
  }
}

// Counts of some of the patterns, as if these were all.
std::vector<std::uint64_t> sampled_counts(const Bitmap& sequence, unsigned width) {
  constexpr std::uint64_t kSamples = 1u << 16;
  const std::uint64_t stride = std::max<std::uint64_t>(1, sequence.size() / width / kSamples);
  auto counts = pattern_counts(sequence, width, stride);
  for (std::uint64_t& count : counts) count *= stride;
  return counts;
}

double entropy_bytes(std::span<const std::uint64_t> counts) {
  const auto total = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}));
  double bits = 0;
  for (const std::uint64_t count : counts) {
    if (count > 0) bits += static_cast<double>(count) * portable_log2(total / static_cast<double>(count));
  }
  return bits / 8;
}

void try_patterns(SequencePlan& best, const Bitmap& sequence, std::uint64_t natural_width) {
  // Huffman's whole bits add about a hundredth to the entropy.
  const auto promising = [&](unsigned width) {
    return entropy_bytes(sampled_counts(sequence, width)) < 0.99 * static_cast<double>(best.bytes);
  };
  const bool natural = natural_width >= kMinPatternBits && natural_width <= kMaxPatternBits;
  if (!promising(8) && !(natural && promising(static_cast<unsigned>(natural_width)))) return;
  unsigned chosen = 0;
  std::uint64_t least = ~std::uint64_t{0};
  for (unsigned width = kMinPatternBits; width <= kMaxPatternBits; ++width) {
    const std::uint64_t bytes = pattern_bytes(sampled_counts(sequence, width), width);
    if (bytes < least) {
      least = bytes;
      chosen = width;
    }
  }
  const std::uint64_t bytes = 2 + pattern_bytes(pattern_counts(sequence, chosen), chosen);
  if (bytes < best.bytes) best = {SequenceKind::kPatterns, chosen, bytes};
}

}  // namespace

SequencePlan plan_sequence(const Bitmap& sequence, std::uint64_t natural_width) {
  const std::uint64_t ones = sequence.count();
  if (ones == 0) return {};
  if (ones == sequence.size()) return {SequenceKind::kAll, 0, 1};
  SequencePlan best;
  best.bytes = ~std::uint64_t{0};
  if (ones <= sequence.size() / 2) {
    try_gaps(best, sequence, SequenceKind::kGaps);
  } else {
    Bitmap rest = sequence;
    rest.complement();
    try_gaps(best, rest, SequenceKind::kComplementGaps);
  }
  try_patterns(best, sequence, natural_width);
  return best;
}

void put_sequence(std::vector<std::uint8_t>& bytes, const Bitmap& sequence, const SequencePlan& plan) {
  bytes.push_back(static_cast<std::uint8_t>(plan.kind));
  if (plan.kind == SequenceKind::kGaps) {
    put_gaps(bytes, sequence, plan.parameter);
  } else if (plan.kind == SequenceKind::kComplementGaps) {
    Bitmap rest = sequence;
    rest.complement();
    put_gaps(bytes, rest, plan.parameter);
  } else if (plan.kind == SequenceKind::kPatterns) {
    bytes.push_back(static_cast<std::uint8_t>(plan.parameter));
    put_patterns(bytes, sequence, plan.parameter);
  }
}

Bitmap take_sequence(std::span<const std::uint8_t> data, std::size_t& offset, std::uint64_t size, unsigned threads) {
  Bitmap sequence(size);
  const unsigned kind = take_u8(data, offset, "a sequence");
  switch (static_cast<SequenceKind>(kind)) {
    case SequenceKind::kNone:
      return sequence;
    case SequenceKind::kAll:
      sequence.complement();
      return sequence;
    case SequenceKind::kGaps:
      take_gaps(data, offset, threads, sequence);
      return sequence;
    case SequenceKind::kComplementGaps:
      take_gaps(data, offset, threads, sequence);
      sequence.complement();
      return sequence;
    case SequenceKind::kPatterns: {
      const unsigned width = take_u8(data, offset, "a sequence");
      if (width < kMinPatternBits || width > kMaxPatternBits) {
        throw FormatError("patterns before byte " + std::to_string(offset) + " have " + std::to_string(width) +
                          " bits, expected 2 to 12");
      }
      take_patterns(data, offset, width, threads, sequence);
      return sequence;
    }
  }
  throw FormatError("a sequence before byte " + std::to_string(offset) + " is of the unknown kind " +
                    std::to_string(kind));
}

}  // namespace dcz
