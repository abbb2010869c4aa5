// The instruction set of the kernels: the best that this CPU has, unless another is forced.
#include "common/cpu.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace dcz {
namespace {

constexpr std::array<std::string_view, 4> kNames{"portable", "avx2", "avx512", "neon"};

bool has(InstructionSet set) {
#if defined(DCZ_X86)
  if (set == InstructionSet::avx2) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
  }
  if (set == InstructionSet::avx512) {
    return has(InstructionSet::avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
           __builtin_cpu_supports("avx512vnni");
  }
#endif
#if defined(DCZ_NEON)
  if (set == InstructionSet::neon) return true;  // every aarch64 has it
#endif
  return set == InstructionSet::portable;
}

InstructionSet best() {
  auto found = InstructionSet::portable;
  for (const auto set : {InstructionSet::avx2, InstructionSet::avx512, InstructionSet::neon}) {
    if (has(set)) found = set;
  }
  return found;
}

InstructionSet by_name(std::string_view name, const std::string& who) {
  std::string available;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    const auto set = static_cast<InstructionSet>(i);
    if (!has(set)) continue;
    if (kNames[i] == name) return set;
    available += available.empty() ? "" : ", ";
    available += kNames[i];
  }
  throw std::invalid_argument(who + " asks for the instruction set '" + std::string(name) +
                              "', but this CPU and build have " + available);
}

InstructionSet from_environment() {
  const char* const name = std::getenv("DEEPCOMPRESSION_CPU");
  return name && *name ? by_name(name, "DEEPCOMPRESSION_CPU") : best();
}

// -1: none is forced.
std::atomic<int> forced{-1};

}  // namespace

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (has(static_cast<InstructionSet>(i))) names.emplace_back(kNames[i]);
  }
  return names;
}

InstructionSet instruction_set() {
  const int set = forced.load(std::memory_order_relaxed);
  if (set >= 0) return static_cast<InstructionSet>(set);
  static const InstructionSet chosen = from_environment();
  return chosen;
}

std::string_view name_of(InstructionSet set) { return kNames[static_cast<std::size_t>(set)]; }

InstructionSet set_by(std::string_view name) {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) throw std::invalid_argument("no instruction set has the name " + std::string(name));
  return static_cast<InstructionSet>(found - kNames.begin());
}

void force_instruction_set(std::string_view name) {
  forced = name.empty() ? -1 : static_cast<int>(by_name(name, "the caller"));
}

}  // namespace dcz
