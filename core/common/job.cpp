// The items of a job, which threads take one by one.
#include "common/job.hpp"

#include <utility>

namespace dcz {

void Job::open(std::span<const Phase> phases, unsigned threads) {
  count_ = phases.size();
  threads_ = threads;
  for (std::size_t phase = 0; phase < count_; ++phase) {
    phases_[phase] = phases[phase];
    done_[phase].value.store(0, std::memory_order_relaxed);
    for (unsigned part = 0; part < threads; ++part) {
      parts_[part].next[phase].store(first_item(phases[phase].count, part, threads), std::memory_order_relaxed);
      parts_[part].times[phase] = {};
    }
  }
  failed_.store(false, std::memory_order_relaxed);
  failure_ = nullptr;
}

bool Job::wait(std::size_t phase) const {
  for (int spins = 0; done_[phase].value.load(std::memory_order_acquire) < phases_[phase].count; ++spins) {
    if (failed_.load(std::memory_order_relaxed)) return false;
    pause(spins);
  }
  return true;
}

void Job::fail() {
  failed_ = true;
  const std::lock_guard lock(failing_);
  if (!failure_) failure_ = std::current_exception();
}

Nanoseconds Job::alone() const {
  double total = 0;
  for (std::size_t phase = 0; phase < count_; ++phase) {
    std::size_t items = 0;
    Nanoseconds all = 0, least = 0;
    for (unsigned part = 0; part < threads_; ++part) {
      const Times& times = parts_[part].times[phase];
      if (times.items == 0) continue;
      items += times.items - 1;
      all += times.all - times.slowest;
      least = least == 0 ? times.slowest : std::min(least, times.slowest);
    }
    const double each = items > 0 ? static_cast<double>(all) / static_cast<double>(items) : static_cast<double>(least);
    total += each * static_cast<double>(phases_[phase].count);
  }
  return static_cast<Nanoseconds>(total);
}

void Job::finish() {
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

}  // namespace dcz
