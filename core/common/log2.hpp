// A logarithm that is the same on every machine. The C library's may differ in the last bit; a writer that compares two
// nearly equal choices by it would then write other bytes.
#pragma once

#include <cmath>

namespace dcz {

// For x > 0, to about 15 digits: log2 m = 2 / ln 2 * artanh((m - 1) / (m + 1)), by its series.
inline double portable_log2(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);
  if (m < 0.70710678118654752) {
    m *= 2;
    --exponent;
  }
  const double t = (m - 1) / (m + 1), square = t * t;
  double sum = 0;
  for (int k = 17; k > 0; k -= 2) sum = sum * square + 1.0 / k;
  return exponent + 2.8853900817779268 * t * sum;
}

}  // namespace dcz
