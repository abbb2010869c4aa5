// The table of packed forms. A form is a row here, and a folder.
#include "packed/dispatch/forms.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "packed/factored/factored.hpp"
#include "packed/panel/panel.hpp"
#include "packed/quad/quad.hpp"
#include "packed/tile/tile.hpp"
#include "packed/window/window.hpp"
#include "packed/word/word.hpp"

namespace dcz {
namespace {

using Bytes = std::span<const std::uint8_t>;
using Multiply = decltype(multiply);

struct FormFunctions {
  Form form;
  PackedHeader (*header)(Bytes packed);
  void (*check)(Bytes packed);
  Multiply* multiply;
};

template <Form kForm, auto kView, auto kCheck>
constexpr FormFunctions row(Multiply* multiply) {
  return {kForm, [](Bytes packed) { return kView(packed).header; }, [](Bytes packed) { kCheck(kView(packed)); },
          multiply};
}

// For a form without kernels of integers.
template <auto kMultiply>
void in_float32(Bytes packed, const float* x, std::size_t vectors, const float* bias, float* y, Activations,
                unsigned threads) {
  kMultiply(packed, x, vectors, bias, y, threads);
}

void refuse(Bytes, const float*, std::size_t, const float*, float*, Activations, unsigned) {
  throw std::invalid_argument("packed weights of a form that does not multiply");
}

constexpr std::array kForms{
    row<Form::window, window_view, check_window>(multiply_window),
    row<Form::panel, panel_view, check_panel>(in_float32<multiply_panel>),
    row<Form::tile, tile_view, check_tile>(refuse),
    row<Form::quad, quad_view, check_quad>(multiply_quad),
    row<Form::factored, factored_view, check_factored>(in_float32<multiply_factored>),
    row<Form::word, word_view, check_word>(in_float32<multiply_word>),
};

// read_packed_header knows no other forms.
const FormFunctions& functions_of(const PackedHeader& header) {
  return *std::find_if(kForms.begin(), kForms.end(),
                       [&](const FormFunctions& each) { return each.form == header.form; });
}

}  // namespace

PackedHeader header_of(Bytes packed) { return functions_of(read_packed_header(packed)).header(packed); }

void check_packed(Bytes packed) { functions_of(read_packed_header(packed)).check(packed); }

void multiply(Bytes packed, const float* x, std::size_t vectors, const float* bias, float* y, Activations activations,
              unsigned threads) {
  check_aligned(packed);
  const PackedHeader header = read_packed_header(packed);
  if (vectors == 0 || header.rows == 0) return;
  // kernels add to the address, though they read nothing there
  static constexpr float kNoColumns[4 * kBlockElements]{};
  if (header.columns == 0) x = kNoColumns;
  functions_of(header).multiply(packed, x, vectors, bias, y, activations, threads);
}

}  // namespace dcz
