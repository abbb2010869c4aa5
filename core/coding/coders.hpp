// The decoders of all coders: one table, by number. Each reads a payload of docs/format.md, "Payloads".
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "coding/cursor.hpp"
#include "coding/tensor.hpp"

namespace dcz {

// Fills `dense`, all zero before, which has the tensor's bytes.
using DecodeDense = void(Cursor& payload, const Stored& tensor, unsigned threads, std::span<std::uint8_t> dense);

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

DecodeDense decode_raw, decode_sparse, decode_huffman, decode_fast, decode_small, decode_deflate;
DecodeShared decode_huffman_shared, decode_fast_shared, decode_small_shared;

}  // namespace dcz
