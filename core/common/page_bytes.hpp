// Bytes that begin at a page, in large pages for many bytes where the system has them: kernels stream them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace dcz {

class PageBytes {
 public:
  // A copy.
  explicit PageBytes(std::span<const std::uint8_t> bytes);

  std::span<std::uint8_t> span() const { return {data_.get(), data_.get_deleter().size}; }

 private:
  struct Free {
    std::size_t size;
    void operator()(std::uint8_t* data) const;
  };

  std::unique_ptr<std::uint8_t, Free> data_;
};

}  // namespace dcz
