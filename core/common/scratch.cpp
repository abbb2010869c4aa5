// Memory that a thread keeps for the next layer.
#include "common/scratch.hpp"

#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace dcz {
namespace {

// Large vectors lie in large pages, where the system has them: kernels read them in no order.
constexpr std::size_t kAlignment = 64, kLargePage = std::size_t{2} << 20, kWorthALargePage = kLargePage / 4;

std::align_val_t alignment_for(std::size_t bytes) {
  return std::align_val_t{bytes >= kLargePage ? kLargePage : kAlignment};
}

struct Free {
  std::size_t bytes;
  void operator()(std::uint8_t* memory) const { ::operator delete(memory, alignment_for(bytes)); }
};

}  // namespace

std::uint8_t* scratch(std::size_t bytes) {
  if (bytes >= kWorthALargePage) bytes = (bytes + kLargePage - 1) / kLargePage * kLargePage;
  thread_local std::unique_ptr<std::uint8_t, Free> memory(nullptr, Free{0});
  if (memory.get_deleter().bytes < bytes) {
    memory.reset();
    memory.get_deleter().bytes = 0;
    memory.reset(static_cast<std::uint8_t*>(::operator new(bytes, alignment_for(bytes))));
    memory.get_deleter().bytes = bytes;
#if defined(__linux__)
    if (bytes >= kLargePage) madvise(memory.get(), bytes, MADV_HUGEPAGE);
#endif
  }
  return memory.get();
}

}  // namespace dcz
