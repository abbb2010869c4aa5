// Packed weights of whichever form: what they say of themselves, and whether all of it holds.
#pragma once

#include <cstdint>
#include <span>

#include "packed/packed.hpp"

namespace dcz {

// The header, its sizes borne out by the sections: callers allocate by them. Throws std::invalid_argument.
PackedHeader header_of(std::span<const std::uint8_t> packed);

// Holds everything against its bounds that kernels would otherwise only clamp; std::invalid_argument.
void check_packed(std::span<const std::uint8_t> packed);

}  // namespace dcz
