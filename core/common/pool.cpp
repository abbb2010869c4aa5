// Threads that wait for work.
#include "common/pool.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

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
    const unsigned wanted = std::min(job.parts, kMostThreads) - 1;
    for (; helpers_ < wanted; ++helpers_) std::thread([this, &turn = turns_[helpers_].number] { help(turn); }).detach();
    job_ = job;
    failure_ = nullptr;
    next_.store(0, std::memory_order_relaxed);
    left_.store(wanted, std::memory_order_relaxed);
    for (unsigned helper = 0; helper < wanted; ++helper) {
      turns_[helper].number.fetch_add(1, std::memory_order_release);
      turns_[helper].number.notify_one();
    }
    work();
    for (int spins = 0; left_.load(std::memory_order_acquire) != 0; ++spins) {
      if (spins < kSpins) {
        pause();
      } else {
        std::this_thread::yield();
      }
    }
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

  std::mutex busy;

 private:
  // How many jobs a helper had. Each waits for its own, so that a job wakes no more of them than it has parts.
  struct alignas(64) Turn {
    std::atomic<std::uint32_t> number{0};
  };

  void work() {
    try {
      for (unsigned part = next_++; part < job_.parts; part = next_++) job_.part(job_.context, part);
    } catch (...) {
      next_ = job_.parts;
      const std::lock_guard lock(failing_);
      if (!failure_) failure_ = std::current_exception();
    }
  }

  void help(const std::atomic<std::uint32_t>& turn) {
    for (std::uint32_t seen = 0;; ++seen) {
      for (int spins = 0; turn.load(std::memory_order_acquire) == seen; ++spins) {
        if (spins < kSpins) {
          pause();
        } else {
          turn.wait(seen, std::memory_order_acquire);
        }
      }
      work();
      left_.fetch_sub(1, std::memory_order_release);
    }
  }

  Job job_{};
  std::exception_ptr failure_;
  std::mutex failing_;
  unsigned helpers_ = 0;
  std::array<Turn, kMostThreads - 1> turns_;
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
