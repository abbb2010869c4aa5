// The Python module deepcompression._core. This folder alone knows Python: it checks types and releases the GIL.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "common/cpu.hpp"
#include "common/error.hpp"

namespace nb = nanobind;

namespace dcz::python {
void bind_coding(nb::module_& m);
void bind_packed(nb::module_& m);
void bind_sharing(nb::module_& m);
}  // namespace dcz::python

NB_MODULE(_core, m) {
  using namespace nb::literals;
  nb::exception<dcz::FormatError>(m, "FormatError", PyExc_ValueError);
  m.def("instruction_sets", &dcz::instruction_sets);
  m.def("instruction_set", [] { return dcz::name_of(dcz::instruction_set()); });
  m.def("force_instruction_set", &dcz::force_instruction_set, "name"_a);
  dcz::python::bind_coding(m);
  dcz::python::bind_sharing(m);
  dcz::python::bind_packed(m);
}
