// Packed weights of whichever form: what they say of themselves, and whether all of it holds.
#include "packed/dispatch/forms.hpp"

#include "packed/factored/factored.hpp"
#include "packed/panel/panel.hpp"
#include "packed/quad/quad.hpp"
#include "packed/tile/tile.hpp"
#include "packed/window/window.hpp"

namespace dcz {

PackedHeader header_of(std::span<const std::uint8_t> packed) {
  const PackedHeader header = read_packed_header(packed);
  switch (header.form) {
    case Form::window:
      return window_view(packed).header;
    case Form::panel:
      return panel_view(packed).header;
    case Form::quad:
      return quad_view(packed).header;
    case Form::factored:
      return factored_view(packed).header;
    default:
      return tile_view(packed).header;
  }
}

void check_packed(std::span<const std::uint8_t> packed) {
  switch (read_packed_header(packed).form) {
    case Form::window:
      return check_window(window_view(packed));
    case Form::panel:
      return check_panel(panel_view(packed));
    case Form::quad:
      return check_quad(quad_view(packed));
    case Form::factored:
      return check_factored(factored_view(packed));
    default:
      return check_tile(tile_view(packed));
  }
}

}  // namespace dcz
