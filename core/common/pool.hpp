// Threads that wait for work: starting new ones would take longer than a small layer.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>

namespace dcz {

// Calls part(context, 0) ... part(context, parts - 1), by at most so many threads, the caller among them. If another
// caller has the threads, this one does all parts. After an exception no further part begins; the caller gets the first
// one when all threads have ended.
void run_parts(unsigned parts, void (*part)(void* context, unsigned number), void* context);

template <typename Part>
void share_parts(unsigned parts, Part&& part) {
  if (parts <= 1) {
    if (parts == 1) part(0u);
    return;
  }
  run_parts(
      parts, [](void* context, unsigned number) { (*static_cast<Part*>(context))(number); },
      const_cast<void*>(static_cast<const void*>(&part)));
}

// Calls item(number, part) for `count` items by at most `threads` threads, at least one. A thread that is done takes
// the next item; after an exception none takes another.
template <typename Item>
void share_items(unsigned threads, std::size_t count, const Item& item) {
  std::atomic<std::size_t> next{0};
  const auto parts = static_cast<unsigned>(std::min<std::size_t>(std::max(threads, 1u), count));
  share_parts(parts, [&](unsigned part) {
    try {
      for (std::size_t number = next++; number < count; number = next++) item(number, part);
    } catch (...) {
      next = count;
      throw;
    }
  });
}

// Calls span(begin, end) for spans of `count` items, which threads take one after the other.
template <typename Span>
void share_spans(unsigned threads, std::size_t count, const Span& span) {
  // a few for each thread, since not all take equally long
  const std::size_t spans = threads <= 1 ? 1 : std::min<std::size_t>(count, 4 * std::size_t{threads});
  share_items(threads, spans, [&](std::size_t i, unsigned) { span(count * i / spans, count * (i + 1) / spans); });
}

}  // namespace dcz
