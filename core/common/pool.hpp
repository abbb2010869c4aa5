// Threads that wait for pieces of kernels: starting them anew would take longer than a small layer.
#pragma once

#include <atomic>
#include <cstddef>

namespace dcz {

// part(context, 0) ... part(context, parts - 1), each by a thread of its own, the caller among them. Parts must not
// throw. Where the threads are busy with another caller, the caller does all parts.
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

// item(number, part) for `count` items: each thread takes the next one when it is done, for others may be held up.
template <typename Item>
void share_items(unsigned parts, std::size_t count, const Item& item) {
  std::atomic<std::size_t> next{0};
  share_parts(parts, [&](unsigned part) {
    for (std::size_t number = next++; number < count; number = next++) item(number, part);
  });
}

}  // namespace dcz
