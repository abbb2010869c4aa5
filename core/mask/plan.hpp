// The view and the kinds of its sequences that take the fewest bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/bitmap.hpp"
#include "mask/axes.hpp"
#include "mask/sequence.hpp"

namespace dcz {

struct MaskPlan {
  View view;
  std::vector<Bitmap> sequences;
  std::vector<SequencePlan> plans;
  std::uint64_t bytes = 0;
};

MaskPlan plan_mask(const Bitmap& mask, std::span<const std::uint64_t> shape);

std::vector<std::uint8_t> view_bytes(const View& view);

}  // namespace dcz
