// Memory that a thread keeps for the next layer.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dcz {

// Aligned to 64 bytes and not cleared. The next call may free it.
std::uint8_t* scratch(std::size_t bytes);

}  // namespace dcz
