// Memory of a thread that stays for the next layer.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dcz {

// Aligned to 64 bytes, with whatever was there before; the next call may free it.
std::uint8_t* scratch(std::size_t bytes);

}  // namespace dcz
