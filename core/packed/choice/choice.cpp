// The form and the layout that multiply fastest: medians over layers with densities of 4 to 25 %.
#include "packed/choice/choice.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>

namespace dcz {
namespace {

// From so many vectors on the form pays: for every codebook, or for those of one grid alone.
struct Pays {
  std::size_t vectors = 1;
  Form form = Form::window;
  std::optional<Grid> grid = {};
};

struct Fastest {
  InstructionSet set;
  Activations activations;
  std::array<Pays, 4> forms;  // the first that pays is taken
};

// Those of neon come from counted instructions (benchmarks/results/neon_instructions.json).
constexpr std::array kFastest{
    Fastest{InstructionSet::portable,
            Activations::float32,
            {Pays{5, Form::panel}, Pays{1, Form::factored}, Pays{2, Form::panel}}},
    Fastest{InstructionSet::portable, Activations::int8, {Pays{5, Form::panel}, Pays{1, Form::factored}}},
    Fastest{InstructionSet::avx2, Activations::float32, {Pays{2, Form::panel}, Pays{1, Form::factored}}},
    Fastest{InstructionSet::avx2, Activations::int8, {Pays{5, Form::panel}}},
    Fastest{InstructionSet::avx512, Activations::float32, {Pays{12, Form::panel}, Pays{6, Form::panel, Grid::none}}},
    Fastest{InstructionSet::avx512, Activations::int8, {Pays{48, Form::quad}}},
    Fastest{InstructionSet::neon,
            Activations::float32,
            {Pays{9, Form::panel}, Pays{8, Form::panel, Grid::int16}, Pays{2, Form::window}, Pays{1, Form::factored}}},
    Fastest{InstructionSet::neon, Activations::int8, {Pays{16, Form::panel}}},
};

bool is_finite(const Matrix& matrix) {
  return std::ranges::all_of(matrix.codebook, [](float each) { return std::isfinite(each); });
}

// From so many survivors a row on, the layout digits24 multiplies one vector of float32 faster than by_slot. With
// fewer, adding up its exact sums once a row costs more than they save.
constexpr std::uint64_t kDigits24From = 64;

// On neon, the planes of the grid int16 take fewer instructions than digits24.
bool digits24_pays(const Matrix& matrix, const Digits& digits, const Way& way) {
  const bool for_one = way.vectors == 1 && way.activations == Activations::float32;
  const bool set = way.set == InstructionSet::avx512 || (way.set == InstructionSet::neon && digits.grid == Grid::none);
  return for_one && set && digits.grid != Grid::int8 && is_finite(matrix) &&
         matrix.codes.size() >= kDigits24From * matrix.rows;
}

// `factored` pays from 1.5 survivors a centroid in a row of a block of 8192 columns. With fewer, its groups of four
// stay too empty.
bool factored_pays(const Matrix& matrix, const Digits& digits, const Way& way) {
  // where integers serve the codebook, they take fewer instructions on neon
  if (way.set == InstructionSet::neon &&
      (digits.grid != Grid::none || (digits24_pays(matrix, digits, way) && digits24_fits(matrix, digits)))) {
    return false;
  }
  const std::uint64_t blocks = (matrix.columns + 8191) / 8192;
  return is_finite(matrix) && 2.0 * static_cast<double>(matrix.codes.size()) >=
                                  3.0 * static_cast<double>(matrix.rows * blocks * matrix.codebook.size());
}

}  // namespace

Form form_for(const Matrix& matrix, const Digits& digits, const Way& way) {
  const auto fastest = std::ranges::find_if(
      kFastest, [&](const Fastest& each) { return each.set == way.set && each.activations == way.activations; });
  for (const Pays& each : fastest->forms) {
    if (way.vectors < each.vectors || (each.grid && *each.grid != digits.grid)) continue;
    if (each.form != Form::factored || factored_pays(matrix, digits, way)) return each.form;
  }
  return Form::window;
}

WindowLayout layout_for(const Matrix& matrix, const Digits& digits, const Way& way) {
  const bool float32 = way.activations == Activations::float32;
  if (way.vectors == 1 && way.set == InstructionSet::avx512 && is_finite(matrix)) {
    if (!float32 || digits.grid == Grid::int8) return WindowLayout::one_window;
  }
  if (digits24_pays(matrix, digits, way)) return WindowLayout::digits24;
  return float32 && digits.grid == Grid::none ? WindowLayout::by_slot : WindowLayout::by_row;
}

}  // namespace dcz
