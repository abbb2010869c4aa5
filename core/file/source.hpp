// The bytes of a file, read by range: from memory, or from a path.
#pragma once

#include <cstdint>
#include <fstream>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace dcz {

// Bytes that stay while this does.
struct Bytes {
  std::span<const std::uint8_t> span;
  std::vector<std::uint8_t> owned;
};

// Threads may share one.
class Source {
 public:
  virtual ~Source() = default;
  virtual std::uint64_t size() const = 0;

  // Bytes that lie within the size. Throws FormatError if the file has become shorter, std::system_error if it cannot
  // be read.
  virtual Bytes read(std::uint64_t offset, std::size_t length) const = 0;
};

// The memory must outlive it.
std::unique_ptr<Source> memory_source(std::span<const std::uint8_t> bytes);

// Throws std::system_error, with the file's name.
std::unique_ptr<Source> file_source(const std::string& path);

}  // namespace dcz
