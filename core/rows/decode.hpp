// Reads the coder `device`, by the C source that boards use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dcz {

// A payload of the coder `device`. `dtype` is its number in docs/format.md.
struct DevicePayload {
  std::span<const std::uint8_t> bytes;
  unsigned dtype, item_bytes;
  std::uint64_t rows, columns;
};

// What the functions below throw FormatError for: a payload that is not as docs/format.md says.

// Fills `dense`, all rows.
void decode_rows(const DevicePayload& payload, std::span<std::uint8_t> dense);

// The survivors: a bitmap with one bit an element, and their symbols. Entries of the symbol `filler` are not among
// them, they are counted.
struct Entries {
  std::vector<std::uint8_t> bitmap, symbols;
  std::uint64_t fillers = 0;
};
Entries decode_entries(const DevicePayload& payload, unsigned filler);

// The bytes of the payload before its groups; of the work buffer that a reader needs, without one for a callback.
struct DeviceSizes {
  std::uint32_t head, work;
};
DeviceSizes device_sizes(const DevicePayload& payload);

}  // namespace dcz
