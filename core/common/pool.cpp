// Threads that wait for pieces of kernels.
#include "common/pool.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#endif
#if defined(DCZ_X86)
#include <immintrin.h>
#endif

namespace dcz {
namespace {

constexpr unsigned kMostThreads = 256;
// About 20 microseconds: a layer that follows finds the threads awake, an idle process does not burn its cores.
constexpr int kSpins = 2000;

void pause() {
#if defined(DCZ_X86)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

struct Job {
  void (*part)(void*, unsigned);
  void* context;
  unsigned parts;
};

class Pool {
 public:
  void run(const Job& job) {
    while (helpers_ + 1 < std::min(job.parts, kMostThreads)) {
      std::thread([this, seen = turn_.load()] { help(seen); }).detach();
      ++helpers_;
    }
    job_ = job;
    next_.store(0, std::memory_order_relaxed);
    left_.store(helpers_, std::memory_order_relaxed);
    turn_.fetch_add(1, std::memory_order_release);
    turn_.notify_all();
    work();
    for (int spins = 0; left_.load(std::memory_order_acquire) != 0; ++spins) {
      if (spins < kSpins) {
        pause();
      } else {
        std::this_thread::yield();
      }
    }
  }

  std::mutex busy;

 private:
  void work() {
    for (unsigned part = next_++; part < job_.parts; part = next_++) job_.part(job_.context, part);
  }

  void help(std::uint32_t seen) {
    for (;;) {
      for (int spins = 0; turn_.load(std::memory_order_acquire) == seen; ++spins) {
        if (spins < kSpins) {
          pause();
        } else {
          turn_.wait(seen, std::memory_order_acquire);
        }
      }
      ++seen;
      work();
      left_.fetch_sub(1, std::memory_order_release);
    }
  }

  Job job_{};
  unsigned helpers_ = 0;
  std::atomic<std::uint32_t> turn_{0};
  std::atomic<unsigned> next_{0}, left_{0};
};

// Never destroyed: its threads wait in it until the process ends. After a fork the child, which has none of them, makes
// its own.
std::atomic<Pool*> pool{nullptr};

Pool& the_pool() {
  static std::once_flag once;
  std::call_once(once, [] {
#if !defined(_WIN32)
    pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });
#endif
    pool = new Pool;
  });
  return *pool;
}

}  // namespace

void run_parts(unsigned parts, void (*part)(void*, unsigned), void* context) {
  Pool& shared = the_pool();
  const std::unique_lock lock(shared.busy, std::try_to_lock);
  if (!lock.owns_lock()) {
    for (unsigned number = 0; number < parts; ++number) part(context, number);
    return;
  }
  shared.run({part, context, parts});
}

}  // namespace dcz
