// The Python module deepcompression._core. Only this folder knows Python: it checks types and releases the GIL.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "common/cpu.hpp"
#include "common/error.hpp"

namespace nb = nanobind;

namespace dcz::python {
void bind_coding(nb::module_& m);
void bind_delta(nb::module_& m);
void bind_layer_call(nb::module_& m);
void bind_packed(nb::module_& m);
void bind_sharing(nb::module_& m);
void bind_tensors(nb::module_& m);
}  // namespace dcz::python

NB_MODULE(_core, m) {
  using namespace nb::literals;
  m.doc() =
      "The C++ core. Arrays are one-dimensional and C-contiguous; another dtype is a TypeError.\n\n"
      "Malformed data raises FormatError, a caller's mistake ValueError. Long work releases the GIL.";
  nb::exception<dcz::FormatError>(m, "FormatError", PyExc_ValueError).doc() =
      "Data that docs/format.md does not allow.";
  m.def(
      "instruction_sets", &dcz::instruction_sets,
      "The instruction sets with kernels for this build and CPU, slowest first: `portable`; `avx2`, `avx512`; `neon`.");
  m.def(
      "instruction_set", [] { return dcz::name_of(dcz::instruction_set()); },
      "The one in use: the forced one, else the one in the environment's DEEPCOMPRESSION_CPU, else the best.");
  m.def("force_instruction_set", &dcz::force_instruction_set, "name"_a,
        "Forces one for the whole process; an empty name frees it. Raises ValueError if CPU or build do not have it.");
  dcz::python::bind_coding(m);
  dcz::python::bind_sharing(m);
  dcz::python::bind_packed(m);
  dcz::python::bind_delta(m);
  dcz::python::bind_tensors(m);
  dcz::python::bind_layer_call(m);
}
