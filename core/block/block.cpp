// Writes blocks, in the layout that suits the number of symbols and their counts (docs/format.md, "Block").
#include "block/block.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include "block/layout.hpp"
#include "common/fields.hpp"
#include "huffman/huffman.hpp"
#include "lanes/code.hpp"
#include "lanes/encoder.hpp"

namespace dcz {
namespace {

using Counts = std::array<std::uint64_t, 256>;

// Calls use(symbols) for one stretch of symbols after the other.
template <typename Use>
void each_stretch(const SymbolSource& source, std::size_t count, const Use& use) {
  for (std::size_t first = 0; first < count; first += kSegmentSymbols) {
    use(source(first, std::min<std::size_t>(kSegmentSymbols, count - first)));
  }
}

Counts count_symbols(const SymbolSource& source, std::size_t count) {
  // Four rows, so that runs of one symbol do not wait for their own counter.
  std::array<std::array<std::uint64_t, 256>, 4> rows{};
  each_stretch(source, count, [&](std::span<const std::uint8_t> symbols) {
    std::size_t at = 0;
    for (; at + 4 <= symbols.size(); at += 4) {
      for (unsigned i = 0; i < 4; ++i) ++rows[i][symbols[at + i]];
    }
    for (; at < symbols.size(); ++at) ++rows[0][symbols[at]];
  });
  Counts counts;
  for (std::size_t s = 0; s < counts.size(); ++s) counts[s] = rows[0][s] + rows[1][s] + rows[2][s] + rows[3][s];
  return counts;
}

// One segment, or a multiple of those that kernels take together: threads can share them.
std::size_t segments_for(std::size_t symbols) {
  if (symbols < std::size_t{1} << 18) return 1;
  if (symbols < std::size_t{1} << 19) return kSegmentsTogether;
  const std::size_t pair = 2 * kSegmentsTogether;
  return pair * ((symbols + pair * kSegmentSymbols - 1) / (pair * kSegmentSymbols));
}

struct Plan {
  Layout layout;
  std::vector<std::uint8_t> lengths;
  std::uint64_t bytes;
};

Plan plan_lanes(Layout layout, const Counts& counts, std::uint64_t total) {
  auto lengths = layout == kNarrowLanes ? narrow_lengths(counts) : wide_lengths(counts);
  if (lengths.empty()) return {layout, {}, ~std::uint64_t{0}};
  std::uint64_t bits = 0, exceptions = 0;
  const auto shortest = *std::min_element(lengths.begin(), lengths.end(),
                                          [](auto a, auto b) { return std::uint8_t(a - 1) < std::uint8_t(b - 1); });
  for (std::size_t s = 0; s < counts.size(); ++s) {
    bits += counts[s] * (lengths[s] ? lengths[s] : shortest);
    if (lengths[s] == 0) exceptions += counts[s];
  }
  // At a segment's end a window has served the last turn and half a byte of the turn before.
  const LaneLayout lanes = lanes_of(layout);
  const std::uint64_t segments = segments_for(total), rounds = (total + lanes.round() - 1) / lanes.round();
  const std::uint64_t window_bits = 8 * kWindowBytes - 4, turn_bits = bits / (rounds * kLanes);
  const std::uint64_t padding = segments * kLanes * (window_bits - std::min(turn_bits, window_bits)) / 8;
  const std::uint64_t overhead = pack_table(lengths).size() + padding + 3 * segments + 2;
  return {layout, std::move(lengths), 1 + (bits + 7) / 8 + 2 * exceptions + overhead};
}

Plan plan_block(const Counts& counts) {
  const std::uint64_t total = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  const auto occurring = counts.size() - static_cast<std::size_t>(std::count(counts.begin(), counts.end(), 0u));
  if (total == 0) return {kSame, {}, 0};
  if (occurring == 1) return {kSame, {}, 2};
  Plan best{kPlain, {}, 1 + total};
  if (total < kStreamSymbols) {
    auto lengths = code_lengths(counts);
    const std::uint64_t bytes = (bits_of(counts, lengths) + 7) / 8,
                        head = 1 + pack_table(lengths).size() + varint_bytes(bytes);
    if (head + bytes < best.bytes) best = {kStream, std::move(lengths), head + bytes};
    return best;
  }
  // The narrow layout is the faster one: it may cost a hundredth more.
  const auto dearer = [](const Plan& plan, std::uint64_t bytes) { return plan.bytes > bytes + bytes / 100; };
  Plan lanes = plan_lanes(kNarrowLanes, counts, total);
  // No code of the lanes is shorter than Huffman's.
  if (dearer(lanes, bits_of(counts, code_lengths(counts, kWide.longest_code)) / 8)) {
    Plan wide = plan_lanes(kWideLanes, counts, total);
    if (dearer(lanes, wide.bytes)) lanes = std::move(wide);
  }
  return lanes.bytes < best.bytes ? std::move(lanes) : std::move(best);
}

// "The symbols without a code; the number of exceptions; for each, distance * symbols + which".
void put_exceptions(std::vector<std::uint8_t>& out, const Counts& counts, const LaneCode& code,
                    std::span<const std::size_t> exceptions, std::span<const std::uint8_t> symbols) {
  std::array<std::uint8_t, 256> which{};
  std::vector<std::uint8_t> rare;
  for (std::size_t s = 0; s < counts.size(); ++s) {
    if (counts[s] == 0 || code.lengths[s] > 0) continue;
    which[s] = static_cast<std::uint8_t>(rare.size());
    rare.push_back(static_cast<std::uint8_t>(s));
  }
  put_varint(out, rare.size());
  append(out, rare);
  if (rare.empty()) return;
  put_varint(out, exceptions.size());
  std::size_t next = 0;
  for (std::size_t i = 0; i < exceptions.size(); ++i) {
    put_varint(out, (exceptions[i] - next) * rare.size() + which[symbols[i]]);
    next = exceptions[i] + 1;
  }
}

std::vector<std::uint8_t> encode_in_lanes(const Plan& plan, const Counts& counts, const SymbolSource& source,
                                          std::size_t count) {
  const LaneLayout layout = lanes_of(plan.layout);
  const LaneCode code = make_lane_code(plan.lengths, layout);
  const std::size_t segments = segments_for(count);
  const auto start = [&](std::size_t i) { return segment_start(i, segments, count, layout.round()); };
  std::size_t symbols_below = counts.size();
  while (counts[symbols_below - 1] == 0) --symbols_below;
  // An exception's place holds the first symbol of the code.
  LaneEncoder encoder(code, static_cast<std::uint8_t>(code.singles[0] >> 8), symbols_below, start(1));
  std::vector<std::size_t> exceptions, lengths;
  std::vector<std::uint8_t> rare, written;
  written.reserve(plan.bytes + plan.bytes / 8 + kSegmentSymbols);
  for (std::size_t i = 0; i < segments; ++i) {
    const std::size_t before = written.size();
    const auto symbols = source(start(i), start(i + 1) - start(i));
    encoder.append(symbols, start(i), written, exceptions);
    while (rare.size() < exceptions.size()) rare.push_back(symbols[exceptions[rare.size()] - start(i)]);
    lengths.push_back(written.size() - before);
  }
  std::vector<std::uint8_t> out{plan.layout};
  append(out, pack_table(plan.lengths));
  if (plan.layout == kNarrowLanes) put_exceptions(out, counts, code, exceptions, rare);
  put_varint(out, segments);
  for (const std::size_t length : lengths) put_varint(out, length);
  // Moves within the reserved memory.
  written.insert(written.begin(), out.begin(), out.end());
  return written;
}

}  // namespace

std::uint64_t block_bytes(std::span<const std::uint64_t> counts) {
  if (counts.size() > 256) throw std::invalid_argument("a block's alphabet has at most 256 symbols");
  Counts all{};
  std::copy(counts.begin(), counts.end(), all.begin());
  return plan_block(all).bytes;
}

std::vector<std::uint8_t> encode_block(std::span<const std::uint8_t> symbols) {
  return encode_block([&](std::size_t first, std::size_t count) { return symbols.subspan(first, count); },
                      symbols.size());
}

std::vector<std::uint8_t> encode_block(const SymbolSource& source, std::size_t count) {
  if (count == 0) return {};
  const Counts counts = count_symbols(source, count);
  const Plan plan = plan_block(counts);
  std::vector<std::uint8_t> out{plan.layout};
  if (plan.layout == kSame) {
    out.push_back(source(0, 1)[0]);
  } else if (plan.layout == kPlain) {
    out.reserve(plan.bytes);
    each_stretch(source, count, [&](auto symbols) { append(out, symbols); });
  } else if (plan.layout == kStream) {
    const auto symbols = source(0, count);
    append(out, pack_table(plan.lengths));
    const auto stream = encode_symbols(std::vector<std::uint16_t>(symbols.begin(), symbols.end()), plan.lengths);
    put_varint(out, stream.size());
    append(out, stream);
  } else {
    return encode_in_lanes(plan, counts, source, count);
  }
  return out;
}

}  // namespace dcz
