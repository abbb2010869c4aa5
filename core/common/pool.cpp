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
// About 20 microseconds: a layer that follows finds the threads awake, and an idle process leaves its cores alone.
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

// Of a helper. The caller calls an idle one, which becomes busy, and idle again when no part is left. At the end the
// caller withdraws the calls that no helper has answered: it waits for busy ones alone.
enum class State : std::uint32_t { idle, called, busy };

class Pool {
 public:
  void run(const Job& job) {
    const unsigned wanted = std::min(job.parts, kMostThreads) - 1;
    for (; helpers_ < wanted; ++helpers_) {
      std::thread([this, &state = states_[helpers_].value] { help(state); }).detach();
    }
    job_ = job;
    failure_ = nullptr;
    next_.store(0, std::memory_order_relaxed);
    for (unsigned helper = 0; helper < wanted; ++helper) {
      states_[helper].value.store(State::called, std::memory_order_release);
      states_[helper].value.notify_one();
    }
    work();
    for (unsigned helper = 0; helper < wanted; ++helper) {
      State seen = State::called;
      states_[helper].value.compare_exchange_strong(seen, State::idle);
      await_change(states_[helper].value, State::busy);
    }
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

  std::mutex busy;

 private:
  // In a cache line of its own.
  struct alignas(64) HelperState {
    std::atomic<State> value{State::idle};
  };

  static void await_change(const std::atomic<State>& state, State from) {
    for (int spins = 0; state.load(std::memory_order_acquire) == from; ++spins) {
      if (spins < kSpins) {
        pause();
      } else {
        state.wait(from, std::memory_order_acquire);
      }
    }
  }

  void work() {
    try {
      for (unsigned part = next_++; part < job_.parts; part = next_++) job_.part(job_.context, part);
    } catch (...) {
      next_ = job_.parts;
      const std::lock_guard lock(failing_);
      if (!failure_) failure_ = std::current_exception();
    }
  }

  void help(std::atomic<State>& state) {
    for (;;) {
      await_change(state, State::idle);
      State seen = State::called;
      if (!state.compare_exchange_strong(seen, State::busy)) continue;
      work();
      state.store(State::idle, std::memory_order_release);
      state.notify_one();
    }
  }

  Job job_{};
  std::exception_ptr failure_;
  std::mutex failing_;
  unsigned helpers_ = 0;
  std::array<HelperState, kMostThreads - 1> states_;
  std::atomic<unsigned> next_{0};
};

// Never destroyed: its threads wait in it until the process ends. A forked child has none of them and makes its own.
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
