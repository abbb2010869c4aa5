// The form `quad` as compilers turn it into AVX2 and FMA: a tile of 16 vectors.
#include "quad_scalar.hpp"

namespace dcz {

constinit const QuadKernel kQuadAvx2 = kernel_of<16>();

}  // namespace dcz
