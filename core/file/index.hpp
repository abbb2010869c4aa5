// The head of a file -> its entries and metadata (docs/format.md, "The file").
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coding/coders.hpp"
#include "coding/tensor.hpp"

namespace dcz {

// A tensor in the index. A tied one has coder, dtype, shape and place of the tensor number `tied_to`; for all others
// that is their own number. `bytes` are those of the dense tensor, `length` those of the payload at `offset`.
struct Entry {
  std::string name;
  std::size_t tied_to;
  const Coder* coder;
  const Dtype* dtype;
  Shape shape;
  std::uint64_t bytes, offset, length;
  std::uint32_t checksum;
};

// Entries and metadata stay at their places: `numbers` looks at the names.
struct Index {
  std::deque<Entry> entries;
  std::map<std::string_view, std::size_t> numbers;
  std::vector<std::pair<std::string, std::string>> metadata;
};

inline constexpr std::size_t kChecksumBytes = 4;

// The most bytes that magic, version and length of the index can take.
inline constexpr std::size_t kHeaderBytes = 14;

struct Header {
  std::size_t start;     // of the index
  std::uint64_t length;  // of the index
};

// The first `kHeaderBytes` of a file, or all of a shorter one. This and `read_head` throw FormatError.
Header read_header(std::span<const std::uint8_t> start);

// Everything before the payloads.
Index read_head(std::span<const std::uint8_t> head, std::size_t start);

std::uint32_t checksum_of(std::span<const std::uint8_t> bytes);

std::string hex(std::uint32_t checksum);

// A name for messages: in quotes, control characters as escapes, so that none steers a terminal.
std::string in_quotes(std::string_view name);

}  // namespace dcz
