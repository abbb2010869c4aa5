// Items of different density in few classes: coded class by class, their bits take the least.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dcz {

// The number of some bits, and of the ones among them.
struct Tally {
  std::uint64_t ones = 0, size = 0;
};

struct Clustering {
  double bits = 0;               // estimate: of the items, of the class of each, and `class_bits` for each class
  std::vector<std::uint8_t> of;  // class of each item, 0 the sparsest
  unsigned count = 1;
};

// The best for each number of classes from 1 to `most`.
std::vector<Clustering> cluster(std::span<const Tally> items, unsigned most, double class_bits);

// The entropy of independent bits.
double entropy_bits(const Tally& tally);

}  // namespace dcz
