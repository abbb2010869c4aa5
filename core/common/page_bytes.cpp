// Bytes that begin at a page, in large pages for many bytes where the system has them: kernels stream them.
#include "common/page_bytes.hpp"

#include <algorithm>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace dcz {
namespace {

constexpr std::size_t kLargePage = std::size_t{2} << 20, kPage = 4096;

std::align_val_t alignment_for(std::size_t size) { return std::align_val_t{size >= kLargePage ? kLargePage : kPage}; }

std::uint8_t* allocated(std::size_t size) {
  return static_cast<std::uint8_t*>(::operator new(std::max<std::size_t>(size, 1), alignment_for(size)));
}

}  // namespace

void PageBytes::Free::operator()(std::uint8_t* data) const { ::operator delete(data, alignment_for(size)); }

PageBytes::PageBytes(std::size_t size) : data_(allocated(size), Free{size}) {
#if defined(__linux__)
  if (size >= kLargePage) madvise(data_.get(), size, MADV_HUGEPAGE);
#endif
}

}  // namespace dcz
