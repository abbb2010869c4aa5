// What the opaque handles of the C interface hold.
#pragma once

#include "common/page_bytes.hpp"
#include "deepcompression.h"
#include "file/reader.hpp"

struct dcz_reader {
  dcz::Reader reader;
};

struct dcz_packed {
  dcz::PageBytes bytes;
};

namespace dcz::c {

// A tensor by its number. Throws std::invalid_argument for a number that there is not.
const Entry& entry_of(const dcz_reader* reader, std::size_t number);

}  // namespace dcz::c
