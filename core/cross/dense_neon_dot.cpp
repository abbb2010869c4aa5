// As dense_neon.cpp, for CPUs that have FEAT_DotProd.
#include "cross/dense_neon.cpp"
