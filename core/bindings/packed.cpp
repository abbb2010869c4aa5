// The part of deepcompression._core that packs weights and computes from them.
#include "packed/packed.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/string_view.h>

#include <algorithm>
#include <array>
#include <bit>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bindings/arrays.hpp"
#include "packed/convolution/convolution.hpp"
#include "packed/dispatch/forms.hpp"
#include "packed/dispatch/multiply.hpp"
#include "packed/factored/factored.hpp"
#include "packed/panel/panel.hpp"
#include "packed/quad/quad.hpp"
#include "packed/tile/tile.hpp"
#include "packed/window/window.hpp"

namespace dcz::python {
namespace {

using namespace nb::literals;

dcz::Grid grid_of(unsigned bits) {
  if (bits != 0 && bits != 8 && bits != 16) throw std::invalid_argument("a grid has 0, 8 or 16 bits");
  return static_cast<dcz::Grid>(bits);
}

dcz::Digits digits_of(unsigned grid_bits, float scale8, const In<std::int16_t>& int8, float scale16,
                      const In<std::int16_t>& int16) {
  return {grid_of(grid_bits), scale8, scale16, std::vector(int8.data(), int8.data() + int8.size()),
          std::vector(int16.data(), int16.data() + int16.size())};
}

// By their numbers in the header.
constexpr std::array<std::string_view, 4> kWindowLayouts{"by_row", "by_slot", "digits24", "one_window"};

dcz::WindowLayout layout_of(std::string_view name) {
  const auto found = std::find(kWindowLayouts.begin(), kWindowLayouts.end(), name);
  if (found == kWindowLayouts.end()) {
    throw std::invalid_argument("the form window has the layout by_row, by_slot, digits24 or one_window; found " +
                                std::string(name));
  }
  return static_cast<dcz::WindowLayout>(found - kWindowLayouts.begin());
}

Out<std::uint8_t> pack_window(std::uint64_t rows, std::uint64_t columns, const In<std::uint8_t>& bitmap,
                              const In<std::uint8_t>& codes, const In<float>& codebook, unsigned grid_bits,
                              float scale8, const In<std::int16_t>& int8, float scale16, const In<std::int16_t>& int16,
                              std::string_view layout) {
  const dcz::Matrix matrix{rows, columns, view(bitmap), view(codes), view(codebook)};
  const dcz::Digits digits = digits_of(grid_bits, scale8, int8, scale16, int16);
  const dcz::WindowLayout named = layout_of(layout);
  return own_aligned(unlocked([&] { return dcz::pack_window(matrix, digits, named); }));
}

template <std::vector<std::uint8_t> (*kPack)(const dcz::Matrix&)>
Out<std::uint8_t> pack(std::uint64_t rows, std::uint64_t columns, const In<std::uint8_t>& bitmap,
                       const In<std::uint8_t>& codes, const In<float>& codebook) {
  const dcz::Matrix matrix{rows, columns, view(bitmap), view(codes), view(codebook)};
  return own_aligned(unlocked([&] { return kPack(matrix); }));
}

Out<std::uint8_t> pack_quad(std::uint64_t rows, std::uint64_t columns, const In<std::uint8_t>& bitmap,
                            const In<std::uint8_t>& codes, const In<float>& codebook, bool on_grid, float scale8,
                            const In<std::int16_t>& int8) {
  const dcz::Matrix matrix{rows, columns, view(bitmap), view(codes), view(codebook)};
  const dcz::Digits8 digits{on_grid ? dcz::Grid::int8 : dcz::Grid::none, scale8, view(int8)};
  return own_aligned(unlocked([&] { return dcz::pack_quad(matrix, digits); }));
}

const char* name_of(dcz::Form form) {
  switch (form) {
    case dcz::Form::window:
      return "window";
    case dcz::Form::panel:
      return "panel";
    case dcz::Form::tile:
      return "tile";
    case dcz::Form::quad:
      return "quad";
    default:
      return "factored";
  }
}

nb::dict packed_header(const In<std::uint8_t>& packed) {
  const dcz::PackedHeader header = dcz::header_of(view(packed));
  nb::dict found;
  found["form"] = name_of(header.form);
  found["code_bits"] = header.code_bits;
  found["grid_bits"] = static_cast<unsigned>(header.grid);
  found["layout"] = static_cast<unsigned>(header.layout);
  found["rows"] = header.rows;
  found["columns"] = header.columns;
  found["survivors"] = header.survivors;
  found["centroids"] = header.centroids;
  found["units"] = header.units;
  found["length"] = header.length;
  found["scale8"] = header.scale8;
  found["scale16"] = header.scale16;
  return found;
}

void check_packed(const In<std::uint8_t>& packed) { dcz::check_packed(view(packed)); }

// Addresses, since arrays would take longer to hand over than a small layer to compute. The caller answers for them:
// deepcompression.packing is the only one.
void multiply(std::uintptr_t packed, std::size_t packed_bytes, std::uintptr_t x, std::size_t vectors,
              std::uintptr_t bias, std::uintptr_t y, bool int8, unsigned threads) {
  nb::gil_scoped_release release;
  dcz::multiply({reinterpret_cast<const std::uint8_t*>(packed), packed_bytes}, reinterpret_cast<const float*>(x),
                vectors, reinterpret_cast<const float*>(bias), reinterpret_cast<float*>(y),
                int8 ? dcz::Activations::int8 : dcz::Activations::float32, threads);
}

void decode_rows(std::uintptr_t packed, std::size_t packed_bytes, std::size_t first, std::size_t count,
                 std::uintptr_t out, unsigned threads) {
  nb::gil_scoped_release release;
  dcz::decode_rows({reinterpret_cast<const std::uint8_t*>(packed), packed_bytes}, first, count,
                   reinterpret_cast<float*>(out), threads);
}

void gather_rows(std::uintptr_t packed, std::size_t packed_bytes, std::uintptr_t rows, std::size_t count,
                 std::uintptr_t out, unsigned threads) {
  nb::gil_scoped_release release;
  dcz::gather_rows({reinterpret_cast<const std::uint8_t*>(packed), packed_bytes},
                   {reinterpret_cast<const std::int64_t*>(rows), count}, reinterpret_cast<float*>(out), threads);
}

bool convolve_sparse(std::uintptr_t packed, std::size_t packed_bytes, const std::array<std::size_t, 13>& numbers,
                     std::uintptr_t x, std::uintptr_t bias, std::uintptr_t y, unsigned threads) {
  nb::gil_scoped_release release;
  return dcz::convolve_sparse({reinterpret_cast<const std::uint8_t*>(packed), packed_bytes},
                              std::bit_cast<dcz::ConvolutionShape>(numbers), reinterpret_cast<const float*>(x),
                              reinterpret_cast<const float*>(bias), reinterpret_cast<float*>(y), threads);
}

}  // namespace

void bind_packed(nb::module_& m) {
  m.def("pack_window", &pack_window, "rows"_a, "columns"_a, "bitmap"_a.noconvert(), "codes"_a.noconvert(),
        "codebook"_a.noconvert(), "grid_bits"_a, "scale8"_a, "int8"_a.noconvert(), "scale16"_a, "int16"_a.noconvert(),
        "layout"_a);
  const auto bind_pack = [&m](const char* name, auto pack_form) {
    m.def(name, pack_form, "rows"_a, "columns"_a, "bitmap"_a.noconvert(), "codes"_a.noconvert(),
          "codebook"_a.noconvert());
  };
  bind_pack("pack_tile", &pack<dcz::pack_tile>);
  bind_pack("pack_panel", &pack<dcz::pack_panel>);
  bind_pack("pack_factored", &pack<dcz::pack_factored>);
  m.def("decode_rows", &decode_rows, "packed"_a, "packed_bytes"_a, "first"_a, "count"_a, "out"_a, "threads"_a);
  m.def("gather_rows", &gather_rows, "packed"_a, "packed_bytes"_a, "rows"_a, "count"_a, "out"_a, "threads"_a);
  m.def("has_sparse_convolution", &dcz::has_sparse_convolution);
  m.def("convolve_sparse", &convolve_sparse, "packed"_a, "packed_bytes"_a, "shape"_a, "x"_a, "bias"_a, "y"_a,
        "threads"_a);
  m.def("pack_quad", &pack_quad, "rows"_a, "columns"_a, "bitmap"_a.noconvert(), "codes"_a.noconvert(),
        "codebook"_a.noconvert(), "on_grid"_a, "scale8"_a, "int8"_a.noconvert());
  m.def("packed_header", &packed_header, "packed"_a.noconvert());
  m.def("check_packed", &check_packed, "packed"_a.noconvert());
  m.def("multiply", &multiply, "packed"_a, "packed_bytes"_a, "x"_a, "vectors"_a, "bias"_a, "y"_a, "int8"_a,
        "threads"_a);
}

}  // namespace dcz::python
