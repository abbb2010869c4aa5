// The coders `fast` and `small`: a mask, then values or codebook and codes.
#include <algorithm>
#include <string>

#include "adaptive/model.hpp"
#include "block/block.hpp"
#include "coding/coders.hpp"
#include "mask/mask.hpp"
#include "values/values.hpp"

namespace dcz {
namespace {

// A payload read up to its values, or up to its codes.
struct Head {
  bool shared = false;
  std::uint64_t survivors = 0;
  std::vector<std::uint8_t> bitmap, codebook;

  // The core is faster without a bitmap.
  Survivors places(const Stored& tensor) const {
    const std::span<const std::uint8_t> none, bits(bitmap);
    return {survivors == tensor.size() ? none : bits, static_cast<std::size_t>(tensor.size())};
  }
};

bool read_kind(Cursor& payload, const Dtype& dtype) {
  const unsigned kind = payload.u8("kind of content");
  if (kind > 1) {
    throw FormatError("the kind of content at offset " + std::to_string(payload.offset() - 1) + " is 0 or 1; found " +
                      std::to_string(kind));
  }
  if (kind == 1 && !dtype.weight) {
    throw FormatError("codebooks are of " + std::string(kWeightNames) + "; found " + std::string(dtype.name));
  }
  return kind == 1;
}

std::size_t read_centroids(Cursor& payload) { return payload.u8("number of centroids") + std::size_t{1}; }

void read_values(Cursor& payload, const Head& head, const Stored& tensor, unsigned threads, Dense& memory) {
  payload.part([&](auto data, auto& at) {
    decode_planes(data, at, head.places(tensor), tensor.item_bytes(), tensor.dtype.weight, memory.zeros(), threads);
  });
}

Head read_fast(Cursor& payload, const Stored& tensor, unsigned threads) {
  Head head;
  head.shared = read_kind(payload, tensor.dtype);
  payload.part([&](auto data, auto& at) {
    Bitmap mask = decode_mask(data, at, tensor.shape, threads);
    head.survivors = mask.count();
    head.bitmap = mask.release();
  });
  if (!head.shared || head.survivors == 0) return head;
  const std::size_t centroids = read_centroids(payload);
  const unsigned width = 8 * tensor.item_bytes();
  const auto ordered = payload.part([&](auto data, auto& at) { return unpack_ascending(data, at, centroids, width); });
  head.codebook = codebook_of(ordered, tensor.item_bytes());
  return head;
}

// The codes are part of the string, too.
Head read_small(Cursor& payload, const Stored& tensor, std::vector<std::uint8_t>& codes) {
  Head head;
  head.shared = read_kind(payload, tensor.dtype);
  head.survivors = payload.varint("number of survivors");
  const std::uint64_t size = tensor.size();
  if (head.survivors > size) {
    throw FormatError(std::to_string(head.survivors) + " survivors are claimed for a tensor of " +
                      std::to_string(size) + " elements");
  }
  std::size_t centroids = 0;
  std::span<const std::uint8_t> coded;
  if (head.shared) {
    if (head.survivors > 0) centroids = read_centroids(payload);
    coded = payload.rest();
  } else {
    coded = payload.text("the mask");
  }
  const bool all = head.survivors == size;
  if (head.survivors == 0 || (all && centroids == 0)) {
    if (!coded.empty()) {
      throw FormatError(std::to_string(coded.size()) +
                        " bytes of mask and codes are stored where all is known without them");
    }
    // all survive: no bitmap is looked at
    if (!all) head.bitmap.resize(Bitmap::size_bytes(size));
    return head;
  }
  head.bitmap.resize(Bitmap::size_bytes(size));
  codes.resize(centroids > 0 ? static_cast<std::size_t>(head.survivors) : 0);
  std::vector<std::uint64_t> ordered(centroids);
  const AdaptiveTensor facts{tensor.shape, head.survivors, static_cast<unsigned>(centroids), 8 * tensor.item_bytes()};
  payload.part([&](auto, auto&) { decode_adaptive(coded, facts, ordered, head.bitmap, codes); });
  head.codebook = codebook_of(ordered, tensor.item_bytes());
  return head;
}

SharedTensor shared_tensor(Head&& head, std::vector<std::uint8_t>&& codes) {
  return {std::move(head.bitmap), std::move(head.codebook), std::move(codes)};
}

}  // namespace

void decode_fast(Cursor& payload, const Stored& tensor, unsigned threads, Dense& memory) {
  const Head head = read_fast(payload, tensor, threads);
  if (!head.shared) return read_values(payload, head, tensor, threads, memory);
  const auto dense = memory.zeros();
  if (head.survivors == 0) return;
  payload.part([&](auto data, auto& at) {
    decode_codes(data, at, head.places(tensor), head.codebook, tensor.item_bytes(), dense, threads);
  });
}

std::optional<SharedTensor> decode_fast_shared(Cursor& payload, const Stored& tensor, unsigned threads) {
  Head head = read_fast(payload, tensor, threads);
  if (!head.shared) return std::nullopt;
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(head.survivors));
  if (head.survivors > 0) {
    payload.part([&](auto data, auto& at) {
      decode_block(data, at, codes, head.codebook.size() / tensor.item_bytes(), threads);
    });
  }
  return shared_tensor(std::move(head), std::move(codes));
}

void decode_small(Cursor& payload, const Stored& tensor, unsigned threads, Dense& memory) {
  std::vector<std::uint8_t> codes;
  const Head head = read_small(payload, tensor, codes);
  if (!head.shared) return read_values(payload, head, tensor, threads, memory);
  const auto dense = memory.zeros();
  if (head.survivors > 0) place_codes(codes, head.places(tensor), head.codebook, tensor.item_bytes(), dense);
}

std::optional<SharedTensor> decode_small_shared(Cursor& payload, const Stored& tensor, unsigned) {
  std::vector<std::uint8_t> codes;
  Head head = read_small(payload, tensor, codes);
  if (!head.shared) return std::nullopt;
  return shared_tensor(std::move(head), std::move(codes));
}

}  // namespace dcz
