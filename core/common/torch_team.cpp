// The threads of OpenMP with which torch computes, found in the process: nothing is linked.
#include "common/torch_team.hpp"

#if defined(__linux__)
#include <dlfcn.h>
#include <link.h>

#include <atomic>
#include <cstring>

#include "common/job.hpp"
#endif

namespace dcz {

#if defined(__linux__)

namespace {

constexpr Nanoseconds kLookAgain = 10'000'000;

constexpr const char* kLibrary = "libtorch_cpu.so";

int find_path(dl_phdr_info* info, std::size_t, void* found) {
  const char* const path = info->dlpi_name;
  const char* const slash = path ? std::strrchr(path, '/') : nullptr;
  if (!slash || std::strcmp(slash + 1, kLibrary) != 0) return 0;
  *static_cast<const char**>(found) = path;
  return 1;
}

template <typename Function>
void find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
}

// GNU's library has these functions; those of LLVM and Intel have them, too.
const TorchTeam* look() {
  const char* path = nullptr;
  dl_iterate_phdr(find_path, &path);
  // kept: the threads may not go away
  void* const library = path ? dlopen(path, RTLD_NOW | RTLD_NOLOAD) : nullptr;
  if (!library) return nullptr;
  static TorchTeam team;
  // a search from this library finds the OpenMP that it was linked with, whatever else is loaded
  find(library, "GOMP_parallel", team.parallel);
  find(library, "omp_get_thread_num", team.number);
  find(library, "omp_get_num_threads", team.threads);
  find(library, "omp_get_max_threads", team.most_threads);
  find(library, "omp_in_parallel", team.in_parallel);
  return team.parallel && team.number && team.threads && team.most_threads && team.in_parallel ? &team : nullptr;
}

}  // namespace

const TorchTeam* torch_team() {
  static std::atomic<const TorchTeam*> found{nullptr};
  static std::atomic<Nanoseconds> next{0};
  const TorchTeam* team = found.load(std::memory_order_acquire);
  if (team) return team;
  const Nanoseconds time = now();
  Nanoseconds due = next.load(std::memory_order_relaxed);
  // one caller looks
  if (time < due || !next.compare_exchange_strong(due, time + kLookAgain)) return nullptr;
  team = look();
  if (team) found.store(team, std::memory_order_release);
  return team;
}

#else

const TorchTeam* torch_team() { return nullptr; }

#endif

}  // namespace dcz
