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
      parts_[part].quickest[phase] = kNever;
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
    Nanoseconds quickest = kNever;
    for (unsigned part = 0; part < threads_; ++part) quickest = std::min(quickest, parts_[part].quickest[phase]);
    if (quickest < kNever) total += static_cast<double>(quickest) * static_cast<double>(phases_[phase].count);
  }
  return static_cast<Nanoseconds>(total);
}

void Job::finish() {
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

}  // namespace dcz
