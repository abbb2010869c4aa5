// The part of deepcompression._core that computes from torch tensors, seen through DLPack's table of functions: to ask
// Python for their addresses, dtypes and shapes would take longer than to compute a small layer.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

#include "packed/dispatch/forms.hpp"

namespace dcz::python {
namespace {

namespace nb = nanobind;
using namespace nb::literals;

// DLPackExchangeAPI of DLPack 1, as a library of tensors gives it.
struct ExchangeTable {
  std::uint32_t major, minor;
  const void* previous;
  const void *allocate, *export_tensor, *import_tensor;
  // Looks at a tensor without a new reference. -1 with a Python exception for one without plain memory.
  int (*view)(void* tensor, nb::dlpack::dltensor* found);
  const void* current_stream;
};

constexpr auto kFloat32 = nb::dlpack::dtype{static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float), 32, 1};
constexpr auto kUint8 = nb::dlpack::dtype{static_cast<std::uint8_t>(nb::dlpack::dtype_code::UInt), 8, 1};

// A tensor's elements in C order in the memory of the CPU.
struct Plain {
  const std::uint8_t* data;
  std::span<const std::int64_t> shape;
  std::size_t elements;

  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(const_cast<std::uint8_t*>(data));
  }
};

class TensorProducts {
 public:
  TensorProducts(const nb::capsule& exchange, nb::object tensor, nb::object parameter)
      : table_(static_cast<const ExchangeTable*>(exchange.data("dlpack_exchange_api"))),
        tensor_(std::move(tensor)),
        parameter_(std::move(parameter)) {
    if (table_->major != 1 || !table_->view) {
      throw std::invalid_argument("tensors are looked at by DLPack 1; found version " + std::to_string(table_->major) +
                                  (table_->view ? "" : " without a view"));
    }
  }

  // y, or None for what the kernels do not take as it is.
  nb::object multiply(nb::handle packed, nb::handle x, nb::handle bias, bool int8, unsigned threads) const {
    Plain bytes, vectors, added{}, result;
    if (!look(packed, kUint8, bytes) || bytes.shape.size() != 1) return nb::none();
    if (!look_at_floats(x, vectors) || vectors.shape.empty()) return nb::none();
    const std::span<const std::uint8_t> view(bytes.data, bytes.elements);
    const dcz::PackedHeader header = dcz::read_packed_header(view);
    const auto is = [](std::int64_t size, std::uint64_t wanted) { return static_cast<std::uint64_t>(size) == wanted; };
    if (!is(vectors.shape.back(), header.columns)) return nb::none();
    if (!bias.is_none() &&
        (!look_at_floats(bias, added) || added.shape.size() != 1 || !is(added.shape[0], header.rows))) {
      return nb::none();
    }
    std::size_t count = 1;
    for (const std::int64_t size : vectors.shape.first(vectors.shape.size() - 1))
      count *= static_cast<std::size_t>(size);
    nb::object y = new_empty(x, vectors.shape, header.rows);
    if (!look(y, kFloat32, result) || result.elements != count * header.rows) return nb::none();
    nb::gil_scoped_release release;
    dcz::multiply(view, vectors.as<const float>(), count, added.as<const float>(), result.as<float>(),
                  int8 ? dcz::Activations::int8 : dcz::Activations::float32, threads);
    return y;
  }

 private:
  // False for another dtype or device, for elements in another order or without memory, and for a subclass.
  bool look(nb::handle tensor, nb::dlpack::dtype dtype, Plain& found) const {
    if (!tensor.type().is(tensor_) && !tensor.type().is(parameter_)) return false;
    nb::dlpack::dltensor seen;
    if (table_->view(tensor.ptr(), &seen) != 0) {
      PyErr_Clear();
      return false;
    }
    if (seen.device.device_type != nb::device::cpu::value || seen.dtype != dtype) return false;
    found.shape = {seen.shape, static_cast<std::size_t>(seen.ndim)};
    found.elements = 1;
    for (std::size_t axis = found.shape.size(); axis-- > 0;) {
      if (found.shape[axis] != 1 && found.elements != 0 &&
          seen.strides[axis] != static_cast<std::int64_t>(found.elements)) {
        return false;
      }
      found.elements *= static_cast<std::size_t>(found.shape[axis]);
    }
    found.data = static_cast<const std::uint8_t*>(seen.data) + seen.byte_offset;
    return seen.data || found.elements == 0;
  }

  // DLPack does not tell whether elements are to be negated when they are read.
  bool look_at_floats(nb::handle tensor, Plain& found) const {
    return look(tensor, kFloat32, found) && !nb::cast<bool>(tensor.attr(is_negated_)());
  }

  // As torch makes it: (*shape[:-1], rows).
  nb::object new_empty(nb::handle x, std::span<const std::int64_t> shape, std::uint64_t rows) const {
    if (shape.size() == 2) return x.attr(new_empty_)(shape[0], rows);
    nb::list sizes;
    for (const std::int64_t size : shape.first(shape.size() - 1)) sizes.append(size);
    sizes.append(rows);
    return x.attr(new_empty_)(sizes);
  }

  const ExchangeTable* table_;
  nb::object tensor_, parameter_;
  nb::str new_empty_{"new_empty"}, is_negated_{"is_neg"};
};

}  // namespace

void bind_tensors(nb::module_& m) {
  m.def(
      "packed_shape",
      [](std::uintptr_t packed, std::size_t packed_bytes) {
        const dcz::PackedHeader header =
            dcz::read_packed_header({reinterpret_cast<const std::uint8_t*>(packed), packed_bytes});
        return std::pair(header.rows, header.columns);
      },
      "packed"_a, "packed_bytes"_a, "The rows and columns of packed weights at an address.");
  nb::class_<TensorProducts>(m, "TensorProducts", "Products with torch tensors.")
      .def(nb::init<const nb::capsule&, nb::object, nb::object>(), "exchange"_a, "tensor"_a, "parameter"_a,
           "The class of tensors, its `__dlpack_c_exchange_api__`, and the class of parameters. Raises ValueError for "
           "another version of DLPack.")
      .def("multiply", &TensorProducts::multiply, "packed"_a.none(), "x"_a.none(), "bias"_a.none(), "int8"_a,
           "threads"_a,
           "x W^T + bias: packed weights, x (..., columns), bias (rows,) or None. None, and nothing is done, unless "
           "all are tensors of the two classes, in C order in the CPU's memory, of uint8 and of float32, and of shapes "
           "that fit.");
}

}  // namespace dcz::python
