// The threads that work beside a caller: our own, which wait for work, or torch's.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "common/job.hpp"
#include "common/torch_team.hpp"

namespace dcz {

// What the caller knows of its helpers, by their numbers from 1 on: which of them were called and have not begun.
class Seats {
 public:
  // By the caller: all helpers up to `threads`.
  void call(unsigned threads);
  bool all_begun(unsigned threads) const;
  // Moves those that are late to other cores.
  void move_late(unsigned threads);
  void forget();

  // By the helper. On the caller's core it would be in the caller's way, until the scheduler's next tick: it leaves.
  void begin(unsigned number);

 private:
  struct alignas(64) Seat {
    std::atomic<std::int64_t> thread{0};
    std::atomic<Nanoseconds> late{0};  // when it is late; 0 once it has begun
  };

  std::atomic<int> core_{-1};  // the caller's
  std::array<Seat, kMostThreads> seats_;
};

// After run(job) of both classes all items of the job are done, and no thread is at work any more.

class OwnHelpers {
 public:
  void run(Job& job);

 private:
  // The caller calls an idle helper, which becomes busy, and idle again when nothing is left to do. At the end the
  // caller withdraws the calls that no helper has answered: it waits for busy ones alone.
  enum class State : std::uint32_t { idle, called, busy };

  // In a cache line of its own.
  struct alignas(64) Helper {
    std::atomic<State> state{State::idle};
  };

  static void await_change(const std::atomic<State>& state, State from);
  void help(unsigned number);

  unsigned helpers_ = 0;
  Job* job_ = nullptr;
  Seats seats_;
  std::array<Helper, kMostThreads> each_;
};

class TorchHelpers {
 public:
  void run(Job& job, const TorchTeam& team);

 private:
  void enter();
  void lead();

  const TorchTeam* team_ = nullptr;
  Job* job_ = nullptr;
  std::int64_t caller_ = 0;
  Seats seats_;
};

}  // namespace dcz
