// The values of a file: the blocks of all bytes of an element, behind one another.
#pragma once

#include "common/fields.hpp"
#include "fuzz/fuzz.hpp"
#include "values/values.hpp"

namespace dcz::fuzz {

inline std::vector<std::uint8_t> planes_of(Bytes elements, unsigned item_bytes, bool is_float) {
  const Survivors all({}, elements.size() / item_bytes);
  std::vector<std::uint8_t> planes;
  for (unsigned byte = item_bytes; byte-- > 0;) {
    append(planes, encode_plane(elements, all, item_bytes, byte, is_float));
  }
  return planes;
}

}  // namespace dcz::fuzz
