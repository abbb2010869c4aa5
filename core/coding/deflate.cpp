// The coder `deflate`: byte planes in one DEFLATE stream, inflated by zlib as they are read.
#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <new>
#include <string>

#include "coding/coders.hpp"
#include "common/bits.hpp"

namespace dcz {
namespace {

class Stream {
 public:
  explicit Stream(Cursor& payload) : payload_(payload), left_(payload.rest()) {
    if (inflateInit2(&stream_, -15) != Z_OK) throw std::bad_alloc();
  }
  ~Stream() { inflateEnd(&stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void read(std::span<std::uint8_t> bytes) {
    for (std::size_t done = 0; done < bytes.size();) {
      const std::size_t found = some(bytes.subspan(done));
      if (found == 0) refuse("ends " + std::to_string(bytes.size() - done) + " bytes too early");
      done += found;
    }
  }

  // The stream and the payload end here.
  void end() {
    std::array<std::uint8_t, 1> more;
    if (some(more) > 0) refuse("holds more than the tensor");
    if (!ended_) refuse("has no end");
    if (!left_.empty()) {
      throw FormatError(std::to_string(left_.size()) + " bytes are left over behind the payload at offset " +
                        std::to_string(payload_.base()));
    }
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const { payload_.refuse_part("a deflated stream " + what); }

  // At least one byte; none at the end of the stream, or of the payload.
  std::size_t some(std::span<std::uint8_t> bytes) {
    constexpr std::size_t kMost = std::size_t{1} << 20;  // zlib counts in 32 bits
    const std::size_t room = std::min(bytes.size(), kMost);
    while (!ended_) {
      const std::size_t given = std::min(left_.size(), kMost);
      stream_.next_in = const_cast<Bytef*>(left_.data());
      stream_.avail_in = static_cast<uInt>(given);
      stream_.next_out = bytes.data();
      stream_.avail_out = static_cast<uInt>(room);
      const int result = inflate(&stream_, Z_NO_FLUSH);
      if (result == Z_MEM_ERROR) throw std::bad_alloc();
      if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
        refuse("is damaged: " + std::string(stream_.msg ? stream_.msg : zError(result)));
      }
      left_ = left_.subspan(given - stream_.avail_in);
      ended_ = result == Z_STREAM_END;
      const std::size_t found = room - stream_.avail_out;
      if (found > 0 || given == 0) return found;
    }
    return 0;
  }

  Cursor& payload_;
  std::span<const std::uint8_t> left_;
  z_stream stream_{};
  bool ended_ = false;
};

template <typename Item>
void turn_back(std::span<std::uint8_t> dense) {
  for (std::size_t at = 0; at < dense.size(); at += sizeof(Item)) {
    store_le(dense.data() + at, std::rotr(load_le<Item>(dense.data() + at), 1));
  }
}

}  // namespace

void decode_deflate(Cursor& payload, const Stored& tensor, unsigned, Dense& memory) {
  const auto dense = memory.to_fill();
  const std::size_t item = tensor.item_bytes(), size = dense.size() / item;
  Stream stream(payload);
  std::array<std::uint8_t, 1 << 14> part;
  for (std::size_t byte = item; byte-- > 0;) {
    for (std::size_t first = 0; first < size; first += part.size()) {
      const auto count = std::min(part.size(), size - first);
      stream.read(std::span(part).first(count));
      for (std::size_t i = 0; i < count; ++i) dense[(first + i) * item + byte] = part[i];
    }
  }
  stream.end();
  if (!tensor.dtype.weight) return;
  if (item == 2) turn_back<std::uint16_t>(dense);
  if (item == 4) turn_back<std::uint32_t>(dense);
  if (item == 8) turn_back<std::uint64_t>(dense);
}

}  // namespace dcz
