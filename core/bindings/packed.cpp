// The part of deepcompression._core that packs weights and computes from them.
#include "packed/packed.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bindings/arrays.hpp"
#include "packed/choice/choice.hpp"
#include "packed/convolution/convolution.hpp"
#include "packed/dispatch/forms.hpp"
#include "packed/dispatch/pack.hpp"
#include "packed/window/window.hpp"

namespace dcz::python {
namespace {

using namespace nb::literals;

using Digit = In<std::int16_t>;

// A matrix from Python: it keeps the arrays that dcz::Matrix looks at.
struct MatrixArrays {
  std::uint64_t rows, columns;
  In<std::uint8_t> bitmap, codes;
  In<float> codebook;

  dcz::Matrix matrix() const { return {rows, columns, view(bitmap), view(codes), view(codebook)}; }
};

dcz::Digits digits_of(unsigned grid_bits, float scale8, const Digit& int8, float scale16,
                      const std::optional<Digit>& int16) {
  if (grid_bits != 0 && grid_bits != 8 && grid_bits != 16) {
    throw std::invalid_argument("a grid has 0, 8 or 16 bits; found " + std::to_string(grid_bits));
  }
  const auto copy = [](const Digit& digits) { return std::vector(digits.data(), digits.data() + digits.size()); };
  return {static_cast<dcz::Grid>(grid_bits), scale8, scale16, copy(int8),
          int16 ? copy(*int16) : std::vector<std::int16_t>{}};
}

Out<std::uint8_t> pack(std::string_view form, const MatrixArrays& matrix, const dcz::Digits& digits,
                       std::string_view layout, unsigned threads) {
  const dcz::Form of = dcz::form_by(form);
  const auto arranged = of == dcz::Form::window ? dcz::layout_by(layout) : dcz::WindowLayout{};
  return own_pages(unlocked([&] { return dcz::pack(of, matrix.matrix(), digits, arranged, threads); }));
}

dcz::Way way_of(bool int8, std::size_t vectors, std::string_view instruction_set) {
  const auto activations = int8 ? dcz::Activations::int8 : dcz::Activations::float32;
  return {activations, vectors, dcz::set_by(instruction_set)};
}

std::string_view form_for(const MatrixArrays& matrix, const dcz::Digits& digits, bool int8, std::size_t vectors,
                          std::string_view instruction_set) {
  return dcz::name_of(dcz::form_for(matrix.matrix(), digits, way_of(int8, vectors, instruction_set)));
}

std::string_view layout_for(const MatrixArrays& matrix, const dcz::Digits& digits, bool int8, std::size_t vectors,
                            std::string_view instruction_set) {
  return dcz::name_of(dcz::layout_for(matrix.matrix(), digits, way_of(int8, vectors, instruction_set)));
}

nb::typed<nb::dict, nb::str, nb::any> packed_header(const In<std::uint8_t>& packed) {
  const dcz::PackedHeader header = dcz::header_of(view(packed));
  nb::dict found;
  found["form"] = dcz::name_of(header.form);
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

// Addresses: to pass arrays would take longer than to compute a small layer. The caller answers for them.
using Address = std::uintptr_t;

std::span<const std::uint8_t> bytes_at(Address address, std::size_t size) {
  return {reinterpret_cast<const std::uint8_t*>(address), size};
}

const float* floats_at(Address address) { return reinterpret_cast<const float*>(address); }

float* result_at(Address address) { return reinterpret_cast<float*>(address); }

void multiply(Address packed, std::size_t packed_bytes, Address x, std::size_t vectors, Address bias, Address y,
              bool int8, unsigned threads) {
  nb::gil_scoped_release release;
  dcz::multiply(bytes_at(packed, packed_bytes), floats_at(x), vectors, floats_at(bias), result_at(y),
                int8 ? dcz::Activations::int8 : dcz::Activations::float32, threads);
}

std::vector<std::uint64_t> pairs_of_threads(const In<std::uint8_t>& packed, std::size_t vectors, bool int8,
                                            unsigned threads) {
  const auto activations = int8 ? dcz::Activations::int8 : dcz::Activations::float32;
  return dcz::pairs_of_threads(view(packed), vectors, activations, threads);
}

void decode_rows(Address packed, std::size_t packed_bytes, std::size_t first, std::size_t count, Address out,
                 unsigned threads) {
  nb::gil_scoped_release release;
  dcz::decode_rows(bytes_at(packed, packed_bytes), first, count, result_at(out), threads);
}

void gather_rows(Address packed, std::size_t packed_bytes, Address rows, std::size_t count, Address out,
                 unsigned threads) {
  nb::gil_scoped_release release;
  dcz::gather_rows(bytes_at(packed, packed_bytes), {reinterpret_cast<const std::int64_t*>(rows), count}, result_at(out),
                   threads);
}

bool convolve_sparse(Address packed, std::size_t packed_bytes, const dcz::ConvolutionShape& shape, Address x,
                     Address bias, Address y, unsigned threads) {
  nb::gil_scoped_release release;
  return dcz::convolve_sparse(bytes_at(packed, packed_bytes), shape, floats_at(x), floats_at(bias), result_at(y),
                              threads);
}

void bind_packing(nb::module_& m) {
  nb::class_<MatrixArrays>(m, "Matrix", "A shared matrix: its surviving elements and their codes.")
      .def(nb::init<std::uint64_t, std::uint64_t, In<std::uint8_t>, In<std::uint8_t>, In<float>>(), "rows"_a,
           "columns"_a, "bitmap"_a.noconvert(), "codes"_a.noconvert(), "codebook"_a.noconvert(),
           "Element r * columns + c survives if its bit of the bitmap is set.")
      .def_ro("rows", &MatrixArrays::rows)
      .def_ro("columns", &MatrixArrays::columns)
      .def_prop_ro("survivors", [](const MatrixArrays& matrix) { return matrix.codes.size(); })
      .def_prop_ro("centroids", [](const MatrixArrays& matrix) { return matrix.codebook.size(); });
  nb::class_<dcz::Digits>(m, "Digits", "The digits of the centroids of a matrix, on a grid or nearest to one.")
      .def(
          "__init__",
          [](dcz::Digits* self, unsigned grid_bits, float scale8, const Digit& int8, float scale16,
             const std::optional<Digit>& int16) {
            new (self) dcz::Digits(digits_of(grid_bits, scale8, int8, scale16, int16));
          },
          "grid_bits"_a, "scale8"_a, "int8"_a.noconvert(), "scale16"_a = 0.0F, "int16"_a.noconvert() = nb::none(),
          "grid_bits is 8 if scale8 * int8 is the codebook exactly, 16 if scale16 * int16 is, else 0.")
      .def_prop_ro("grid_bits", [](const dcz::Digits& digits) { return static_cast<unsigned>(digits.grid); });
  m.def("forms", &dcz::form_names, "The names of the packed forms, in the order of their numbers.");
  m.def("layouts", &dcz::layout_names, "The names of the layouts of the form window, in the order of their numbers.");
  m.def("pack", &pack, "form"_a, "matrix"_a, "digits"_a, "layout"_a = "", "threads"_a = 1,
        "Packed weights; their bytes do not depend on `threads`. Only the form window has layouts.\n\n"
        "Raises ValueError for parts that do not fit together, and for centroids that are not finite in the form "
        "factored and in the layouts digits24 and one_window.");
  m.def("form_for", &form_for, "matrix"_a, "digits"_a, "int8"_a, "vectors"_a, "instruction_set"_a,
        "The form that multiplies so many vectors fastest. This CPU need not have the instruction set.");
  m.def("layout_for", &layout_for, "matrix"_a, "digits"_a, "int8"_a, "vectors"_a, "instruction_set"_a,
        "The layout of the form window that multiplies so many vectors fastest.");
  m.def("packed_header", &packed_header, "packed"_a.noconvert(),
        "The fields of `packing.Header`. Raises ValueError for bytes that are no packed weights.");
  m.def("check_packed", &check_packed, "packed"_a.noconvert(),
        "Raises ValueError for packed weights with anything out of its bounds.");
}

void bind_convolution(nb::module_& m) {
  using Size = std::size_t;
  nb::class_<dcz::ConvolutionShape>(m, "ConvolutionShape", "A convolution of stride 1 in two dimensions.")
      .def(nb::init<Size, Size, Size, Size, Size, Size, Size, Size, Size, Size, Size, Size, Size>(), nb::kw_only(),
           "batch"_a, "groups"_a, "channels"_a, "height"_a, "width"_a, "kernel_height"_a, "kernel_width"_a,
           "padding_top"_a, "padding_left"_a, "dilation_height"_a, "dilation_width"_a, "out_height"_a, "out_width"_a,
           "channels are those of one group.");
  m.def("has_sparse_convolution", &dcz::has_sparse_convolution,
        "Whether the instruction set in use has a kernel for `convolve_sparse`.");
  m.def("convolve_sparse", &convolve_sparse, "packed"_a, "packed_bytes"_a, "shape"_a, "x"_a, "bias"_a, "y"_a,
        "threads"_a,
        "A convolution from the form tile: addresses of packed weights, float32 x, bias or 0, and y. False, and y as "
        "it was, if x is not finite.");
}

}  // namespace

void bind_packed(nb::module_& m) {
  bind_packing(m);
  bind_convolution(m);
  m.def("multiply", &multiply, "packed"_a, "packed_bytes"_a, "x"_a, "vectors"_a, "bias"_a, "y"_a, "int8"_a, "threads"_a,
        "y = x W^T + bias: addresses of packed weights, float32 x (vectors, columns), bias or 0, y (vectors, rows).");
  m.def("pairs_of_threads", &pairs_of_threads, "packed"_a.noconvert(), "vectors"_a, "int8"_a, "threads"_a,
        "How a product of the form window is split: the pairs of each thread that takes part, before any helps "
        "another. Raises ValueError for another form.");
  m.def("decode_rows", &decode_rows, "packed"_a, "packed_bytes"_a, "first"_a, "count"_a, "out"_a, "threads"_a,
        "Dense rows of the forms tile and word: addresses of packed weights and of float32 `out` (count, columns). "
        "Raises "
        "IndexError for rows that they do not have.");
  m.def("gather_rows", &gather_rows, "packed"_a, "packed_bytes"_a, "rows"_a, "count"_a, "out"_a, "threads"_a,
        "The same for the `count` int64 row numbers at the address `rows`.");
}

}  // namespace dcz::python
