// The items of a job, which threads take one by one.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <span>
#include <thread>

#include "common/pool.hpp"

#if defined(DCZ_X86)
#include <immintrin.h>
#endif

namespace dcz {

inline constexpr unsigned kMostThreads = 256;

using Nanoseconds = std::int64_t;

inline Nanoseconds now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// One look at what another thread is about to change. Whoever looks many times gives the core away.
inline void pause(int spins) {
  constexpr int kGiveWay = 2000;
  if (spins >= kGiveWay) return std::this_thread::yield();
#if defined(DCZ_X86)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

// One at a time; nobody may be at work when the next one is opened.
class Job {
 public:
  // `threads` is at most kMostThreads.
  void open(std::span<const Phase> phases, unsigned threads);

  unsigned threads() const { return threads_; }

  // Does items as thread number `me` until nobody needs this thread. Calls between() after each item.
  template <typename Between>
  void work(unsigned me, const Between& between);

  // When all threads have ended: the time that one alone would have taken, if the items of a phase are equal. The
  // slowest item of each thread does not count, because it may have lost its core.
  Nanoseconds alone() const;

  // The same: throws what an item threw.
  void finish();

 private:
  struct Times {
    std::size_t items;
    Nanoseconds all, slowest;
  };
  // The next item of each phase in the part of a thread, and the times of the items that it did: in cache lines of
  // their own.
  struct alignas(64) Part {
    std::array<std::atomic<std::size_t>, kMostPhases> next;
    alignas(64) std::array<Times, kMostPhases> times;
  };
  struct alignas(64) Count {
    std::atomic<std::size_t> value;
  };

  template <typename Between>
  void take(std::size_t phase, unsigned me, const Between& between);

  // Until all items of the phase are done. False after an exception.
  bool wait(std::size_t phase) const;

  void fail();

  std::array<Part, kMostThreads> parts_;
  std::array<Count, kMostPhases> done_;
  std::array<Phase, kMostPhases> phases_{};
  std::size_t count_ = 0;
  unsigned threads_ = 0;
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;
  std::mutex failing_;
};

template <typename Between>
void Job::take(std::size_t phase, unsigned me, const Between& between) {
  const Phase& of = phases_[phase];
  Times times{};
  try {
    Nanoseconds begin = now();
    for (unsigned turn = 0; turn < threads_; ++turn) {
      const unsigned part = (me + turn) % threads_;
      const std::size_t end = first_item(of.count, part + std::size_t{1}, threads_);
      std::atomic<std::size_t>& next = parts_[part].next[phase];
      while (next.load(std::memory_order_relaxed) < end && !failed_.load(std::memory_order_relaxed)) {
        const std::size_t number = next.fetch_add(1, std::memory_order_relaxed);
        if (number >= end) break;
        of.item(of.context, number, me);
        ++times.items;
        between();
        const Nanoseconds time = now();
        times.all += time - begin;
        times.slowest = std::max(times.slowest, time - begin);
        begin = time;
      }
    }
  } catch (...) {
    fail();
  }
  parts_[me].times[phase] = times;
  if (times.items > 0) done_[phase].value.fetch_add(times.items, std::memory_order_acq_rel);
}

template <typename Between>
void Job::work(unsigned me, const Between& between) {
  for (std::size_t phase = 0; phase < count_; ++phase) {
    if (phase > 0 && !wait(phase - 1)) return;
    take(phase, me, between);
  }
}

}  // namespace dcz
