// Threads that were woken but do not begin: they are moved to other cores.
#include "common/wake.hpp"

#if defined(__linux__)
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace dcz {

#if defined(__linux__)

std::int64_t thread_number() {
  thread_local const std::int64_t number = syscall(SYS_gettid);
  return number;
}

int core_number() { return sched_getcpu(); }

void move_away(std::int64_t thread) {
  const auto number = static_cast<pid_t>(thread);
  cpu_set_t allowed;
  const int here = sched_getcpu();
  // the thread may have ended, and its number may be another process's by now
  if (number == 0 || here < 0 || syscall(SYS_tgkill, getpid(), number, 0) != 0) return;
  if (sched_getaffinity(number, sizeof allowed, &allowed) != 0) return;
  cpu_set_t others = allowed;
  CPU_CLR(static_cast<std::size_t>(here), &others);
  if (CPU_COUNT(&others) == 0 || sched_setaffinity(number, sizeof others, &others) != 0) return;
  sched_setaffinity(number, sizeof allowed, &allowed);
}

#else

std::int64_t thread_number() { return 0; }

int core_number() { return -1; }

void move_away(std::int64_t) {}

#endif

}  // namespace dcz
