// The instruction set of the kernels: the best that this CPU has, unless another is forced.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dcz {

enum class InstructionSet { portable, avx2, avx512, neon };

// The names of those that this build and this CPU have, slowest first.
std::vector<std::string> instruction_sets();

// The one in use: the forced one, else the one that the environment variable DEEPCOMPRESSION_CPU names, else the best.
InstructionSet instruction_set();
std::string_view name_of(InstructionSet set);

// Whether or not this CPU has it. Throws std::invalid_argument for a name that there is not.
InstructionSet set_by(std::string_view name);

// Forces one for the whole process; an empty name frees it. Throws std::invalid_argument if the CPU does not have it.
void force_instruction_set(std::string_view name);

}  // namespace dcz
