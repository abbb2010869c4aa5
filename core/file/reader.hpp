// A `.dcz` file open for reading: nothing is believed before it is checked.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "file/index.hpp"
#include "file/source.hpp"

namespace dcz {

// The limit of all decoded tensors together, unless the caller sets another.
inline constexpr std::uint64_t kLimitBytes = std::uint64_t{64} << 30;

// Opening reads and checks the index alone, everything else the bytes of its tensor alone. Threads may share a reader.
// `name` is the file's, for messages; it may be empty. Throws FormatError, naming file, tensor and offset, for anything
// that docs/format.md does not allow, and for a file whose decoded tensors would take more than `limit_bytes`.
class Reader {
 public:
  Reader(std::unique_ptr<Source> source, std::string name, std::uint64_t limit_bytes = kLimitBytes);

  const Index& index() const { return index_; }

  // Compares the checksum of a tensor's payload.
  void check(std::size_t number) const;

  // Fills `dense`, which has the tensor's bytes. After an error it is all zero, or untouched.
  void decode(std::size_t number, std::span<std::uint8_t> dense, unsigned threads) const;

  // The tensor as it is shared; a small one is recognised by its values. Nothing if it is not shared.
  std::optional<SharedTensor> shared(std::size_t number, unsigned threads) const;

 private:
  void open(std::uint64_t limit_bytes);
  Bytes read(std::uint64_t offset, std::uint64_t length, const char* what) const;

  // Calls use(payload, tensor) with a payload whose checksum is right; errors name file and tensor.
  template <typename Use>
  void with_payload(std::size_t number, const Use& use) const;

  std::unique_ptr<Source> source_;
  std::string prefix_;
  Index index_;
};

}  // namespace dcz
