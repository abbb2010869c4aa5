// Threads that were woken but do not begin: they are moved to other cores.
#pragma once

#include <cstdint>

namespace dcz {

// Of the calling thread, for `move_away`; 0 where the system has none.
std::int64_t thread_number();

// The core of the calling thread, or -1.
int core_number();

// Schedulers may wake a thread on the core of its caller, where it waits for a time slice of some milliseconds while
// other cores are idle. This moves a thread of this process that waits so to another core than the calling
// thread's, if it may use one; or the calling thread itself. It may
// return there later.
void move_away(std::int64_t thread);

}  // namespace dcz
