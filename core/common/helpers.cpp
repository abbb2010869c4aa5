// The threads that work beside a caller: our own, which wait for work, or torch's.
#include "common/helpers.hpp"

#include <algorithm>
#include <thread>

#include "common/wake.hpp"

namespace dcz {
namespace {

// A thread that sleeps begins within some 20 to 50 microseconds, or else it waits for a core. Whoever was moved once
// and still waits is moved again after a while.
constexpr Nanoseconds kLate = 50'000, kLateAgain = 1'000'000;

// About 20 microseconds: a layer that follows finds the threads awake, and an idle process leaves its cores alone.
constexpr int kSpins = 2000;

}  // namespace

void Seats::call(unsigned threads) {
  const Nanoseconds time = now();
  core_.store(core_number(), std::memory_order_relaxed);
  for (unsigned number = 1; number < threads; ++number) {
    std::atomic<Nanoseconds>& late = seats_[number].late;
    if (late.load(std::memory_order_relaxed) == 0) late.store(time + kLate, std::memory_order_relaxed);
  }
}

void Seats::begin(unsigned number) {
  seats_[number].thread.store(thread_number(), std::memory_order_relaxed);
  seats_[number].late.store(0, std::memory_order_relaxed);
  const int core = core_number();
  if (core >= 0 && core == core_.load(std::memory_order_relaxed)) move_away(thread_number());
}

bool Seats::all_begun(unsigned threads) const {
  for (unsigned number = 1; number < threads; ++number) {
    if (seats_[number].late.load(std::memory_order_relaxed) != 0) return false;
  }
  return true;
}

void Seats::move_late(unsigned threads) {
  const Nanoseconds time = now();
  for (unsigned number = 1; number < threads; ++number) {
    Seat& seat = seats_[number];
    Nanoseconds late = seat.late.load(std::memory_order_relaxed);
    // if it begins meanwhile, it stays where it is
    if (late == 0 || time < late || !seat.late.compare_exchange_strong(late, time + kLateAgain)) continue;
    move_away(seat.thread.load(std::memory_order_relaxed));
  }
}

void Seats::forget() {
  for (Seat& seat : seats_) {
    seat.thread = 0;
    seat.late = 0;
  }
}

void OwnHelpers::await_change(const std::atomic<State>& state, State from) {
  for (int spins = 0; state.load(std::memory_order_acquire) == from; ++spins) {
    if (spins < kSpins) {
      pause(0);
    } else {
      state.wait(from, std::memory_order_acquire);
    }
  }
}

void OwnHelpers::help(unsigned number) {
  std::atomic<State>& state = each_[number].state;
  for (;;) {
    await_change(state, State::idle);
    seats_.begin(number);
    State seen = State::called;
    if (!state.compare_exchange_strong(seen, State::busy)) continue;
    job_->work(number, [] {});
    state.store(State::idle, std::memory_order_release);
    state.notify_one();
  }
}

void OwnHelpers::run(Job& job) {
  job_ = &job;
  const unsigned threads = job.threads();
  while (helpers_ + 1 < threads) std::thread([this, number = ++helpers_] { help(number); }).detach();
  seats_.call(threads);
  for (unsigned number = 1; number < threads; ++number) {
    each_[number].state.store(State::called, std::memory_order_release);
    each_[number].state.notify_one();
  }
  job.work(0, [&] {
    if (!seats_.all_begun(threads)) seats_.move_late(threads);
  });
  for (unsigned number = 1; number < threads; ++number) {
    State seen = State::called;
    each_[number].state.compare_exchange_strong(seen, State::idle);
    await_change(each_[number].state, State::busy);
  }
}

void TorchHelpers::run(Job& job, const TorchTeam& team) {
  team_ = &team;
  job_ = &job;
  // each thread that calls has a team of its own
  if (caller_ != thread_number()) {
    seats_.forget();
    caller_ = thread_number();
  }
  // all of them, needed or not: a team that becomes smaller ends threads, which torch's next region starts anew
  const unsigned threads = std::max(job.threads(), std::min(static_cast<unsigned>(team.most_threads()), kMostThreads));
  seats_.call(threads);
  team.parallel([](void* self) { static_cast<TorchHelpers*>(self)->enter(); }, this, threads, 0);
}

void TorchHelpers::enter() {
  const auto number = static_cast<unsigned>(team_->number());
  if (number == 0) return lead();
  seats_.begin(number);
  if (number < job_->threads()) job_->work(number, [] {});
}

// The team waits for all of its threads, needed or not: those that are late are moved first.
void TorchHelpers::lead() {
  const auto threads = static_cast<unsigned>(team_->threads());
  job_->work(0, [&] {
    if (!seats_.all_begun(threads)) seats_.move_late(threads);
  });
  const Nanoseconds end = now() + kLate;
  for (int spins = 0; !seats_.all_begun(threads); ++spins) {
    seats_.move_late(threads);
    if (now() > end) break;
    pause(0);
  }
}

}  // namespace dcz
