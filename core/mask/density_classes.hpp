// Classes of a mask's rows and columns, and groups of their cells, by density.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/bitmap.hpp"
#include "mask/axes.hpp"
#include "mask/cluster.hpp"

namespace dcz {

// Coordinates of the axes `first` to `end` - 1, clustered by the density of their elements.
struct ClassRange {
  unsigned first, end;
  std::vector<Clustering> clusterings;  // into 1, 2, ... classes

  const Clustering& best() const;
  double gain() const { return clusterings[0].bits - best().bits; }
  // Into at most `count` classes.
  Classes classes(std::size_t count) const;
};

// The runs of axes that can have classes: not all axes, more than one coordinate, and enough elements for each.
std::vector<ClassRange> class_ranges(const Bitmap& mask, std::span<const std::uint64_t> shape);

// Moves each row and column to the class that suits its survivors in all cells best, in some rounds.
void refine(View& view, const Bitmap& mask, std::span<const std::uint64_t> shape, unsigned rounds);

// Chooses the groups of the view's cells and estimates the bits that its classes and its mask will take.
double choose_groups(View& view, const Bitmap& mask, std::span<const std::uint64_t> shape);

}  // namespace dcz
