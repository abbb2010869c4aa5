// The form and the layout that multiply fastest, and the digits of a codebook.
#pragma once

#include <cstddef>
#include <span>

#include "common/cpu.hpp"
#include "packed/activations.hpp"
#include "packed/packed.hpp"
#include "packed/window/window.hpp"

namespace dcz {

// How a matrix will be multiplied. This CPU need not have the instruction set.
struct Way {
  Activations activations;
  std::size_t vectors;  // at once
  InstructionSet set;
};

// Of a matrix, its codes are counted and its codebook is looked at, no more.
Form form_for(const Matrix& matrix, const Digits& digits, const Way& way);
WindowLayout layout_for(const Matrix& matrix, const Digits& digits, const Way& way);

// The digits on the codebook's grid, int8 before int16; for a codebook off every grid, the nearest of int8. A codebook
// is on a grid if each centroid is the float32 of its digit times one scale, exactly; the largest such scale is taken.
Digits digits_of(std::span<const float> codebook);

}  // namespace dcz
