// The one exception for malformed data; a caller's mistake is std::invalid_argument.
#pragma once

#include <stdexcept>

namespace dcz {

class FormatError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace dcz
