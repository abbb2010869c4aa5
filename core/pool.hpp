// Threads that wait for pieces of kernels: starting them anew would take longer than a small layer.
#pragma once

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

}  // namespace dcz
