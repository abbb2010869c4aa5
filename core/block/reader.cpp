// Reads blocks, group by group, by the kernels of the instruction set in use (docs/format.md, "Block").
#include <algorithm>
#include <array>
#include <memory>
#include <stdexcept>
#include <string>

#include "block/block.hpp"
#include "block/layout.hpp"
#include "common/error.hpp"
#include "common/fields.hpp"
#include "common/pool.hpp"
#include "huffman/huffman.hpp"
#include "lanes/code.hpp"

namespace dcz {
namespace {

[[noreturn]] void refuse(std::size_t at, const std::string& why) {
  throw FormatError("block at byte " + std::to_string(at) + " " + why);
}

}  // namespace

BlockReader::BlockReader(std::span<const std::uint8_t> data, std::size_t& offset, std::size_t count,
                         std::size_t alphabet)
    : data_(data), count_(count), alphabet_(alphabet) {
  if (count == 0) return;
  const std::size_t start = offset;
  layout_ = take_u8(data, offset, "block");
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
    parse_lanes(offset);
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

void BlockReader::parse_lanes(std::size_t& offset) {
  const LaneLayout layout = lanes_of(static_cast<Layout>(layout_));
  const std::size_t start = offset - 1;
  lengths_ = unpack_table(data_, offset, alphabet_);
  if (const auto flaw = flaw_of(lengths_, layout); !flaw.empty()) refuse(start, "has no code for its lanes: " + flaw);
  code_.reset(new LaneCode(make_lane_code(lengths_, layout)));  // large: made in place
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
  // Each symbol takes at least one bit.
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

LaneBlock BlockReader::lanes() const {
  LaneBlock found{};
  if (segments_.empty()) return found;
  found.layout = code_->layout;
  found.table.assign(code_->singles.begin(), code_->singles.begin() + (1 << found.layout.longest_code));
  found.bytes.assign(segments_.begin(), segments_.end());
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    found.symbols.push_back(segment_start(i, segments_.size() - 1, count_, found.layout.round()));
  }
  for (const Exception& exception : exceptions_) {
    found.places.push_back(exception.number);
    found.rare.push_back(exception.symbol);
  }
  return found;
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
  if (!kDecodeLanes.in_use()(*code_, {parts.data(), last - first}, data_.data() + data_.size())) {
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
  share_items(threads, reader.groups(), [&](std::size_t number, unsigned) {
    const auto group = reader.group(number);
    reader.read(number, symbols.subspan(group.first, group.count));
  });
}

}  // namespace dcz
