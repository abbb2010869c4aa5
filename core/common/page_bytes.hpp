// Bytes that begin at a page, in large pages for many bytes where the system has them: kernels stream them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace dcz {

class PageBytes {
 public:
  // Of any values, until they are written.
  explicit PageBytes(std::size_t size);

  std::uint8_t* data() const { return data_.get(); }
  std::size_t size() const { return data_.get_deleter().size; }
  std::uint8_t* begin() const { return data(); }
  std::uint8_t* end() const { return data() + size(); }

 private:
  struct Free {
    std::size_t size;
    void operator()(std::uint8_t* data) const;
  };

  std::unique_ptr<std::uint8_t, Free> data_;
};

}  // namespace dcz
