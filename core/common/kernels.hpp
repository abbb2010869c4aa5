// Tables with one kernel for each instruction set that has its own. A new kernel is a file, named after its instruction
// set, and an entry in the table.
#pragma once

#include "common/cpu.hpp"

// The entry of a table in builds that have these kernels, else none.
#if defined(DCZ_X86)
#define DCZ_IF_X86(kernel) kernel
#else
#define DCZ_IF_X86(kernel) nullptr
#endif
#if defined(DCZ_NEON)
#define DCZ_IF_NEON(kernel) kernel
#else
#define DCZ_IF_NEON(kernel) nullptr
#endif

namespace dcz {

// `Kernel`: a set of functions, constant, or the type of one function.
template <typename Kernel>
struct KernelTable {
  Kernel* portable = nullptr;
  Kernel* avx2 = nullptr;
  Kernel* avx512 = nullptr;
  Kernel* neon = nullptr;

  // The kernel of the instruction set in use, or of the next lesser one that has a kernel; null if none has.
  Kernel* find() const {
    switch (instruction_set()) {
      case InstructionSet::avx512:
        if (avx512) return avx512;
        [[fallthrough]];
      case InstructionSet::avx2:
        return avx2 ? avx2 : portable;
      case InstructionSet::neon:
        return neon ? neon : portable;
      default:
        return portable;
    }
  }

  // The same for a table with a portable kernel.
  Kernel& in_use() const { return *find(); }
};

}  // namespace dcz
