// The threads of OpenMP with which torch computes, found in the process: nothing is linked.
#pragma once

namespace dcz {

struct TorchTeam {
  // Calls run(context) in so many threads, the caller among them, and returns when all have ended.
  void (*parallel)(void (*run)(void*), void* context, unsigned threads, unsigned flags);
  // Of the calling thread: its number in its team, their number, the most that its next team has, and whether it is
  // one of several.
  int (*number)();
  int (*threads)();
  int (*most_threads)();
  int (*in_parallel)();
};

// Null as long as torch is not loaded, and where its OpenMP has no such functions. Looks again every few milliseconds.
const TorchTeam* torch_team();

}  // namespace dcz
