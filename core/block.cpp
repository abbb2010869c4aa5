// Blocks: byte symbols, entropy-coded in the layout that suits their number and their counts (docs/format.md, "Block").
#include "block.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <stdexcept>
#include <string>

#include "cpu.hpp"
#include "error.hpp"
#include "huffman.hpp"
#include "lane_code.hpp"
#include "lane_encoder.hpp"
#include "parallel.hpp"
#include "varint.hpp"

namespace dcz {
namespace {

enum Layout : std::uint8_t { kSame, kPlain, kStream, kNarrowLanes, kWideLanes };

// Fewer symbols go into one stream, for lanes have windows to fill.
constexpr std::size_t kStreamSymbols = std::size_t{1} << 16;
constexpr std::size_t kSegmentSymbols = std::size_t{1} << 20;
constexpr std::size_t kSegmentsTogether = 3;  // what a kernel decodes in turns

using Counts = std::array<std::uint64_t, 256>;

Counts count_symbols(std::span<const std::uint8_t> symbols) {
  // Four rows, so that runs of one symbol do not wait for their own counter.
  std::array<std::array<std::uint64_t, 256>, 4> rows{};
  std::size_t at = 0;
  for (; at + 4 <= symbols.size(); at += 4) {
    for (unsigned i = 0; i < 4; ++i) ++rows[i][symbols[at + i]];
  }
  for (; at < symbols.size(); ++at) ++rows[0][symbols[at]];
  Counts counts;
  for (std::size_t s = 0; s < counts.size(); ++s) counts[s] = rows[0][s] + rows[1][s] + rows[2][s] + rows[3][s];
  return counts;
}

// One, or a multiple of what kernels take together, so that threads can share them.
std::size_t segments_for(std::size_t symbols) {
  if (symbols < std::size_t{1} << 18) return 1;
  if (symbols < std::size_t{1} << 19) return kSegmentsTogether;
  const std::size_t pair = 2 * kSegmentsTogether;
  return pair * ((symbols + pair * kSegmentSymbols - 1) / (pair * kSegmentSymbols));
}

// Segments differ by at most one round: the first ones are longer.
std::size_t segment_start(std::size_t segment, std::size_t segments, std::size_t symbols, std::size_t round) {
  const std::size_t rounds = (symbols + round - 1) / round;
  return std::min(symbols, round * (segment * (rounds / segments) + std::min(segment, rounds % segments)));
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
  // At a segment's end a window has been used for the last turn and half a byte of the turn before.
  const LaneLayout lanes = layout == kNarrowLanes ? kNarrow : kWide;
  const std::uint64_t segments = segments_for(total), rounds = (total + lanes.round() - 1) / lanes.round();
  const std::uint64_t window_bits = 8 * kWindowBytes - 4, turn_bits = bits / (rounds * kLanes);
  const std::uint64_t padding = segments * kLanes * (window_bits - std::min(turn_bits, window_bits)) / 8;
  const std::uint64_t overhead = pack_table(lengths).size() + padding + 3 * segments + 2;
  return {layout, std::move(lengths), 1 + (bits + 7) / 8 + 2 * exceptions + overhead};
}

// What no code of the lanes can fall below.
std::uint64_t huffman_bytes(const Counts& counts) {
  const auto lengths = code_lengths(counts, kWide.longest_code);
  std::uint64_t bits = 0;
  for (std::size_t s = 0; s < counts.size(); ++s) bits += counts[s] * lengths[s];
  return bits / 8;
}

Plan plan_block(const Counts& counts) {
  const std::uint64_t total = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  const auto occurring = counts.size() - static_cast<std::size_t>(std::count(counts.begin(), counts.end(), 0u));
  if (total == 0) return {kSame, {}, 0};
  if (occurring == 1) return {kSame, {}, 2};
  Plan best{kPlain, {}, 1 + total};
  if (total < kStreamSymbols) {
    auto lengths = code_lengths(counts);
    std::uint64_t bits = 0;
    for (std::size_t s = 0; s < counts.size(); ++s) bits += counts[s] * lengths[s];
    const std::uint64_t bytes = (bits + 7) / 8, head = 1 + pack_table(lengths).size() + varint_bytes(bytes);
    if (head + bytes < best.bytes) best = {kStream, std::move(lengths), head + bytes};
    return best;
  }
  // The narrow layout is the faster one: it may cost a hundredth more.
  const auto dearer = [](const Plan& plan, std::uint64_t bytes) { return plan.bytes > bytes + bytes / 100; };
  Plan lanes = plan_lanes(kNarrowLanes, counts, total);
  if (dearer(lanes, huffman_bytes(counts))) {
    Plan wide = plan_lanes(kWideLanes, counts, total);
    if (dearer(lanes, wide.bytes)) lanes = std::move(wide);
  }
  return lanes.bytes < best.bytes ? std::move(lanes) : std::move(best);
}

void append(std::vector<std::uint8_t>& out, std::span<const std::uint8_t> bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

// "The symbols without a code; the number of exceptions; for each, distance * symbols + which".
void put_exceptions(std::vector<std::uint8_t>& out, const Counts& counts, const LaneCode& code,
                    std::span<const std::uint8_t> symbols, std::span<const std::size_t> exceptions) {
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
  for (const std::size_t number : exceptions) {
    put_varint(out, (number - next) * rare.size() + which[symbols[number]]);
    next = number + 1;
  }
}

// An exception's place holds the first symbol of the code.
std::uint8_t stand_in_of(const LaneCode& code) { return static_cast<std::uint8_t>(code.singles[0] >> 8); }

void encode_in_lanes(std::vector<std::uint8_t>& out, LaneLayout layout, const Plan& plan, const Counts& counts,
                     std::span<const std::uint8_t> symbols) {
  const LaneCode code = make_lane_code(plan.lengths, layout);
  const std::size_t segments = segments_for(symbols.size());
  const auto start = [&](std::size_t i) { return segment_start(i, segments, symbols.size(), layout.round()); };
  std::size_t symbols_below = counts.size();
  while (counts[symbols_below - 1] == 0) --symbols_below;
  LaneEncoder encoder(code, stand_in_of(code), symbols_below, start(1));
  std::vector<std::size_t> exceptions, lengths;
  std::vector<std::uint8_t> written;
  written.reserve(plan.bytes + plan.bytes / 8 + kSegmentSymbols);
  for (std::size_t i = 0; i < segments; ++i) {
    const std::size_t before = written.size();
    encoder.append(symbols.subspan(start(i), start(i + 1) - start(i)), start(i), written, exceptions);
    lengths.push_back(written.size() - before);
  }
  append(out, pack_table(plan.lengths));
  if (plan.layout == kNarrowLanes) put_exceptions(out, counts, code, symbols, exceptions);
  put_varint(out, segments);
  for (const std::size_t length : lengths) put_varint(out, length);
  append(out, written);
}

[[noreturn]] void refuse(std::size_t at, const std::string& why) {
  throw FormatError("block at byte " + std::to_string(at) + " " + why);
}

}  // namespace

std::uint64_t block_bytes(std::span<const std::uint64_t> counts) {
  if (counts.size() > 256) throw std::invalid_argument("a block's alphabet has at most 256 symbols");
  Counts all{};
  std::copy(counts.begin(), counts.end(), all.begin());
  return plan_block(all).bytes;
}

std::vector<std::uint8_t> encode_block(std::span<const std::uint8_t> symbols) {
  std::vector<std::uint8_t> out;
  if (symbols.empty()) return out;
  const Counts counts = count_symbols(symbols);
  const Plan plan = plan_block(counts);
  out.reserve(plan.bytes);
  out.push_back(plan.layout);
  if (plan.layout == kSame) {
    out.push_back(symbols[0]);
  } else if (plan.layout == kPlain) {
    append(out, symbols);
  } else if (plan.layout == kStream) {
    append(out, pack_table(plan.lengths));
    const auto stream = encode_symbols(std::vector<std::uint16_t>(symbols.begin(), symbols.end()), plan.lengths);
    put_varint(out, stream.size());
    append(out, stream);
  } else {
    encode_in_lanes(out, plan.layout == kNarrowLanes ? kNarrow : kWide, plan, counts, symbols);
  }
  return out;
}

BlockReader::BlockReader(std::span<const std::uint8_t> data, std::size_t& offset, std::size_t count,
                         std::size_t alphabet)
    : data_(data), count_(count), alphabet_(alphabet) {
  if (count == 0) return;
  const std::size_t start = offset;
  if (offset >= data.size()) refuse(start, "is truncated");
  layout_ = data[offset++];
  if (layout_ == kSame) {
    length_ = 1;
  } else if (layout_ == kPlain) {
    length_ = count;
  } else if (layout_ == kStream) {
    if (count > kStreamSymbols) refuse(start, "has more than 65536 symbols in one stream");
    lengths_ = unpack_table(data, offset, alphabet);
    length_ = take_varint(data, offset, "length of a stream");
    if (count > 8 * length_) refuse(start, "has too few bytes for " + std::to_string(count) + " symbols");
  } else if (layout_ == kNarrowLanes || layout_ == kWideLanes) {
    parse_lanes(layout_ == kNarrowLanes ? kNarrow : kWide, offset);
    return;
  } else {
    refuse(start, "has the layout " + std::to_string(layout_) + ", expected 0 to 4");
  }
  at_ = offset;
  if (length_ > data.size() - offset) refuse(start, "is truncated");
  offset += length_;
  if (layout_ != kStream && alphabet < 256) {
    const auto plain = data.subspan(at_, length_);
    const auto largest = *std::max_element(plain.begin(), plain.end());
    if (largest >= alphabet) {
      refuse(start, "has the symbol " + std::to_string(largest) + " in an alphabet of " + std::to_string(alphabet));
    }
  }
}

void BlockReader::parse_lanes(LaneLayout layout, std::size_t& offset) {
  const std::size_t start = offset - 1;
  lengths_ = unpack_table(data_, offset, alphabet_);
  if (const auto flaw = flaw_of(lengths_, layout); !flaw.empty()) refuse(start, "has no code for its lanes: " + flaw);
  code_ = std::make_unique<LaneCode>(make_lane_code(lengths_, layout));
  if (layout_ == kNarrowLanes) parse_exceptions(offset);

  const std::uint64_t segments = take_varint(data_, offset, "number of segments");
  const std::size_t rounds = (count_ + layout.round() - 1) / layout.round();
  if (segments < 1 || segments > rounds || segments > data_.size() - offset ||
      segment_start(1, segments, count_, layout.round()) > kSegmentSymbols) {
    refuse(start, "has " + std::to_string(segments) + " segments for " + std::to_string(rounds) + " rounds");
  }
  std::vector<std::uint64_t> lengths(segments);
  for (auto& length : lengths) length = take_varint(data_, offset, "length of a segment");
  segments_.push_back(offset);
  for (const std::uint64_t length : lengths) {
    if (length > data_.size() - segments_.back()) refuse(start, "is truncated");
    segments_.push_back(segments_.back() + length);
  }
  // Each symbol takes a bit at least.
  if (count_ > 8 * (segments_.back() - offset)) {
    refuse(start, "has too few bytes for " + std::to_string(count_) + " symbols");
  }
  offset = segments_.back();
}

void BlockReader::parse_exceptions(std::size_t& offset) {
  const std::size_t start = offset;
  const std::uint64_t rare = take_varint(data_, offset, "number of symbols without a code");
  if (rare == 0) return;
  if (rare > 256 || rare > data_.size() - offset) refuse(start, "lists too many symbols without a code");
  const auto symbols = data_.subspan(offset, rare);
  offset += rare;
  for (std::size_t i = 0; i < rare; ++i) {
    if (symbols[i] >= alphabet_ || lengths_[symbols[i]] > 0 || (i > 0 && symbols[i] <= symbols[i - 1])) {
      refuse(start, "lists symbol " + std::to_string(symbols[i]) + " among those without a code");
    }
  }
  const std::uint64_t exceptions = take_varint(data_, offset, "number of exceptions");
  if (exceptions > data_.size() - offset || exceptions > count_) refuse(start, "has too many exceptions");
  exceptions_.reserve(exceptions);
  std::size_t next = 0;
  for (std::uint64_t i = 0; i < exceptions; ++i) {
    const std::uint64_t value = take_varint(data_, offset, "exception");
    if (value / rare >= count_ - next) refuse(start, "has an exception behind its last symbol");
    next += value / rare;
    exceptions_.push_back({next++, symbols[value % rare]});
  }
}

std::size_t BlockReader::groups() const {
  if (count_ == 0) return 0;
  if (segments_.empty()) return (count_ + kGroupSymbols - 1) / kGroupSymbols;
  return (segments_.size() - 1 + kSegmentsTogether - 1) / kSegmentsTogether;
}

BlockReader::Group BlockReader::group(std::size_t number) const {
  std::size_t from = number * kGroupSymbols, to = std::min(count_, from + kGroupSymbols);
  if (!segments_.empty()) {
    const std::size_t segments = segments_.size() - 1, round = code_->layout.round();
    const std::size_t last = std::min(segments, (number + 1) * kSegmentsTogether);
    from = segment_start(number * kSegmentsTogether, segments, count_, round);
    to = segment_start(last, segments, count_, round);
  }
  return {from, to - from};
}

void BlockReader::read(std::size_t number, std::span<std::uint8_t> symbols) const {
  const Group wanted = group(number);
  if (symbols.size() != wanted.count) throw std::invalid_argument("the group has another number of symbols");
  if (layout_ == kSame) {
    std::fill(symbols.begin(), symbols.end(), data_[at_]);
  } else if (layout_ == kPlain) {
    std::copy_n(data_.begin() + static_cast<std::ptrdiff_t>(at_ + wanted.first), wanted.count, symbols.begin());
  } else if (layout_ == kStream) {
    decode_symbols(data_, at_, length_, lengths_, symbols);
  } else {
    read_lanes(wanted, number, symbols);
  }
}

void BlockReader::read_lanes(Group wanted, std::size_t number, std::span<std::uint8_t> symbols) const {
  const std::size_t segments = segments_.size() - 1, round = code_->layout.round();
  const std::size_t first = number * kSegmentsTogether, last = std::min(segments, first + kSegmentsTogether);
  std::array<LaneSegment, kSegmentsTogether> parts;
  for (std::size_t i = first; i < last; ++i) {
    const std::size_t from = segment_start(i, segments, count_, round);
    parts[i - first] = {data_.data() + segments_[i], data_.data() + segments_[i + 1],
                        symbols.data() + (from - wanted.first), segment_start(i + 1, segments, count_, round) - from};
  }
  DecodeLanes decode = decode_lanes_portable;
#if defined(DCZ_X86)
  if (instruction_set() == InstructionSet::avx2) decode = decode_lanes_avx2;
  if (instruction_set() == InstructionSet::avx512) decode = decode_lanes_avx512;
#endif
  if (!decode(*code_, {parts.data(), last - first}, data_.data() + data_.size())) {
    refuse(segments_[first], "has segments " + std::to_string(first) + " to " + std::to_string(last - 1) +
                                 " whose bytes are not those of their symbols");
  }
  const auto begin = std::lower_bound(exceptions_.begin(), exceptions_.end(), wanted.first,
                                      [](const Exception& e, std::size_t at) { return e.number < at; });
  for (auto e = begin; e != exceptions_.end() && e->number < wanted.first + wanted.count; ++e) {
    symbols[e->number - wanted.first] = e->symbol;
  }
}

void decode_block(std::span<const std::uint8_t> data, std::size_t& offset, std::span<std::uint8_t> symbols,
                  std::size_t alphabet, unsigned threads) {
  const BlockReader reader(data, offset, symbols.size(), alphabet);
  in_parallel(reader.groups(), threads, [&](std::size_t number) {
    const auto group = reader.group(number);
    reader.read(number, symbols.subspan(group.first, group.count));
  });
}

}  // namespace dcz
