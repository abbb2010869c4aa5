// y = x W^T + bias, straight from packed weights of whichever form.
#include "packed/dispatch/multiply.hpp"

#include <stdexcept>

#include "packed/factored/multiply.hpp"
#include "packed/packed.hpp"
#include "packed/panel/multiply.hpp"
#include "packed/quad/multiply.hpp"
#include "packed/window/multiply.hpp"
#include "packed/window/window.hpp"

namespace dcz {

void multiply(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias, float* y,
              Activations activations, unsigned threads) {
  if (reinterpret_cast<std::uintptr_t>(packed.data()) % alignof(float) != 0) {
    throw std::invalid_argument("packed weights must begin at a multiple of 4 bytes: copy them first");
  }
  const PackedHeader header = read_packed_header(packed);
  if (vectors == 0 || header.rows == 0) return;
  // an address that may be added to, though nothing is read there
  static constexpr float kNoColumns[2 * kBlockElements]{};
  if (header.columns == 0) x = kNoColumns;
  if (header.form == Form::window) return multiply_window(packed, x, vectors, bias, y, activations, threads);
  if (header.form == Form::panel) return multiply_panel(packed, x, vectors, bias, y, threads);
  if (header.form == Form::quad) return multiply_quad(packed, x, vectors, bias, y, activations, threads);
  if (header.form == Form::factored) return multiply_factored(packed, x, vectors, bias, y, threads);
  throw std::invalid_argument("packed weights of a form that does not multiply");
}

}  // namespace dcz
