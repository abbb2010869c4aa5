// The form `quad` in portable C++: a tile of 16 vectors.
#include "quad_scalar.hpp"

namespace dcz {

constinit const QuadKernel kQuadPortable = kernel_of<16>();

}  // namespace dcz
