// The Python module deepcompression._core. It, its parts bindings_*.cpp and arrays.hpp alone know Python: they check
// types and release the GIL.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "cpu.hpp"
#include "error.hpp"

namespace nb = nanobind;

namespace dcz::python {
void bind_code(nb::module_& m);
void bind_packed(nb::module_& m);
void bind_share(nb::module_& m);
}  // namespace dcz::python

NB_MODULE(_core, m) {
  using namespace nb::literals;
  nb::exception<dcz::FormatError>(m, "FormatError", PyExc_ValueError);
  m.def("instruction_sets", &dcz::instruction_sets);
  m.def("instruction_set", [] { return dcz::name_of(dcz::instruction_set()); });
  m.def("force_instruction_set", &dcz::force_instruction_set, "name"_a);
  dcz::python::bind_code(m);
  dcz::python::bind_share(m);
  dcz::python::bind_packed(m);
}
