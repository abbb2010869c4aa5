// Who shares a job: torch's threads, our own, or the caller alone.
#include "common/pool.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "common/helpers.hpp"
#include "common/job.hpp"
#include "common/torch_team.hpp"

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace dcz {
namespace {

// Time that a job loses because its threads are late is paid back: the caller works alone for so many times as long.
constexpr Nanoseconds kPaidBack = 3;

// Who loses so much waited for a time slice of the scheduler: another process has a core. Each try then costs more than
// its own loss, because threads of the team that spin after it are in the way. So the caller works alone for a while,
// and twice as long as before if the try after it loses soon.
constexpr Nanoseconds kSlice = 1'000'000, kFirstPause = 20'000'000, kLongestPause = 640'000'000;

void run_alone(std::span<const Phase> phases) {
  for (const Phase& phase : phases) {
    for (std::size_t number = 0; number < phase.count; ++number) phase.item(phase.context, number, 0);
  }
}

// Whether the caller works alone for now, because threads bring nothing.
class Restraint {
 public:
  bool holds(Nanoseconds time) const {
    return owed_.load(std::memory_order_relaxed) > 0 || time < until_.load(std::memory_order_relaxed);
  }

  void worked_alone(Nanoseconds time) {
    if (owed_.load(std::memory_order_relaxed) > 0) owed_ -= time;
  }

  // By the one caller that has the threads.
  void lost(Nanoseconds lost, Nanoseconds time) {
    if (lost < kSlice) {
      owed_ = kPaidBack * lost;
      return;
    }
    pause_ = time < until_ + pause_ ? std::min(2 * pause_, kLongestPause) : kFirstPause;
    until_ = time + pause_;
  }

 private:
  std::atomic<Nanoseconds> owed_{0}, until_{0};
  Nanoseconds pause_ = 0;
};

struct Pool {
  std::atomic_flag busy;
  Restraint restraint;
  Job job;
  TorchHelpers torch;
  OwnHelpers own;
};

// Never destroyed: its threads wait in it until the process ends. A forked child has none of them and makes its own.
// It has none of torch's either.
std::atomic<Pool*> pool{nullptr};
std::atomic<bool> forked{false};

Pool& the_pool() {
  static std::once_flag once;
  std::call_once(once, [] {
#if !defined(_WIN32)
    pthread_atfork(nullptr, nullptr, [] {
      pool = new Pool;
      forked = true;
    });
#endif
    pool = new Pool;
  });
  return *pool;
}

}  // namespace

void run_phases(unsigned threads, std::span<const Phase> phases, Items items) {
  threads = std::min(threads, kMostThreads);
  if (threads <= 1) return run_alone(phases);
  Pool& shared = the_pool();
  const Nanoseconds begin = now();
  if (items == Items::equal && shared.restraint.holds(begin)) {
    run_alone(phases);
    shared.restraint.worked_alone(now() - begin);
    return;
  }
  const TorchTeam* const team = forked ? nullptr : torch_team();
  if ((team && team->in_parallel()) || shared.busy.test_and_set(std::memory_order_acquire)) return run_alone(phases);
  shared.job.open(phases, threads);
  if (team) {
    shared.torch.run(shared.job, *team);
  } else {
    shared.own.run(shared.job);
  }
  const Nanoseconds end = now(), lost = end - begin - shared.job.alone();
  if (items == Items::equal && lost > 0) shared.restraint.lost(lost, end);
  try {
    shared.job.finish();
  } catch (...) {
    shared.busy.clear(std::memory_order_release);
    throw;
  }
  shared.busy.clear(std::memory_order_release);
}

}  // namespace dcz
