// Items of different density put into few classes, so that bits coded class by class take the least.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dcz {

// Bits, and how many of them are set.
struct Tally {
  std::uint64_t ones = 0, size = 0;
};

struct Clustering {
  double bits = 0;  // estimate: the items' bits, which class each item is of, and `class_bits` for each class
  std::vector<std::uint8_t> of;  // class of each item, 0 the sparsest
  unsigned count = 1;
};

// The best for each number of classes from 1 to `most`.
std::vector<Clustering> cluster(std::span<const Tally> items, unsigned most, double class_bits);

// The entropy of the bits as if they were independent.
double entropy_bits(const Tally& tally);

}  // namespace dcz
