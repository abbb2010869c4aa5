// The decoders of all coders: one table, by number. Each reads a payload of docs/format.md, "Payloads".
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "coding/cursor.hpp"
#include "coding/tensor.hpp"

namespace dcz {

// The caller's memory for a dense tensor, as many bytes as it has. A decoder asks for it when its checks are done: a
// bad payload touches no memory that it does not fill.
class Dense {
 public:
  explicit Dense(std::span<std::uint8_t> bytes) : bytes_(bytes) {}

  std::size_t size() const { return bytes_.size(); }
  std::span<std::uint8_t> zeros();

  // For a decoder that writes every byte, or gives up.
  std::span<std::uint8_t> to_fill();

  // Zeros, if any decoder has asked for the memory.
  void clear();

 private:
  std::span<std::uint8_t> bytes_;
  bool touched_ = false;
};

using DecodeDense = void(Cursor& payload, const Stored& tensor, unsigned threads, Dense& dense);

// The tensor as it is shared; nothing if it is stored dense.
using DecodeShared = std::optional<SharedTensor>(Cursor& payload, const Stored& tensor, unsigned threads);

struct Coder {
  std::uint8_t number;
  std::string_view name;
  DecodeDense* decode;
  DecodeShared* decode_shared;  // null for a coder without codebooks
};

// By ascending numbers.
std::span<const Coder> coders();

DecodeDense decode_raw, decode_sparse, decode_huffman, decode_fast, decode_small, decode_deflate, decode_device;
DecodeShared decode_huffman_shared, decode_fast_shared, decode_small_shared, decode_device_shared;

}  // namespace dcz
