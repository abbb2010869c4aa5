// The form `quad` as compilers turn it into AVX2 and FMA: a tile of 32 vectors.
#include "quad_scalar.hpp"

namespace dcz {

constinit const QuadKernel kQuadAvx2 = kernel_of<32>();

}  // namespace dcz
