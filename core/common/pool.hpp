// Threads that share work: torch's where torch is loaded, else our own, which wait for it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

namespace dcz {

// Items that need each other's results in no order. The phases of a job follow each other: an item may need all items
// of the phases before its own. `thread` is the number of the one that does the item, the caller is thread 0.
struct Phase {
  std::size_t count;
  void (*item)(void* context, std::size_t number, unsigned thread);
  void* context;
};

inline constexpr std::size_t kMostPhases = 4;

// Whether the items of a phase take about equally long. Then threads that bring nothing, because another process has
// their cores, are left out for a while.
enum class Items { unequal, equal };

// Calls each item once, by at most so many threads, the caller among them. Thread t begins with the t-th part of each
// phase, so that the same thread does the same items in every call, and then helps the others. If another caller has
// the threads, this one does all items. After an exception no further item begins; the caller gets the first one when
// all threads have ended. Nothing but time depends on `threads`.
void run_phases(unsigned threads, std::span<const Phase> phases, Items items);

// The first item of thread number `thread`: it has those up to the first one of the next thread. One item is the
// caller's.
constexpr std::size_t first_item(std::size_t count, std::size_t thread, std::size_t threads) {
  return (count * thread + threads - 1) / threads;
}

// Makes a phase of item(number, thread), which must stay until the phase is done.
template <typename Item>
Phase phase_of(std::size_t count, Item& item) {
  return {count,
          [](void* context, std::size_t number, unsigned thread) { (*static_cast<Item*>(context))(number, thread); },
          const_cast<void*>(static_cast<const void*>(&item))};
}

// Calls item(number, thread) for `count` items by at most `threads` threads, at least one.
template <typename Item>
void share_items(unsigned threads, std::size_t count, Item&& item) {
  const auto most = static_cast<unsigned>(std::min<std::size_t>(std::max(threads, 1u), count));
  const std::array phases{phase_of(count, item)};
  run_phases(most, phases, Items::unequal);
}

// Calls part(0) ... part(parts - 1), each by a thread of its own if there are so many.
template <typename Part>
void share_parts(unsigned parts, Part&& part) {
  share_items(parts, parts, [&](std::size_t number, unsigned) { part(static_cast<unsigned>(number)); });
}

}  // namespace dcz
