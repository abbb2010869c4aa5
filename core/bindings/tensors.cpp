// The part of deepcompression._core that computes from torch tensors.
#include "bindings/tensors.hpp"

#include <nanobind/stl/pair.h>

#include <cstdlib>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "packed/dispatch/forms.hpp"

namespace dcz::python {

using namespace nb::literals;

Tensors tensors;

namespace {

constexpr auto kFloat32 = nb::dlpack::dtype{static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float), 32, 1};
constexpr auto kUint8 = nb::dlpack::dtype{static_cast<std::uint8_t>(nb::dlpack::dtype_code::UInt), 8, 1};
constexpr std::size_t kAlignment = 64;

// DLManagedTensorVersioned of DLPack 1: it heads the block that holds its sizes and elements, too.
struct Managed {
  std::uint32_t major, minor;
  void* context;
  void (*deleter)(Managed* self);
  std::uint64_t flags;
  nb::dlpack::dltensor tensor;
};

}  // namespace

void Tensors::use(const nb::capsule& exchange, nb::object tensor, nb::object parameter) {
  const auto* const table = static_cast<const ExchangeTable*>(exchange.data("dlpack_exchange_api"));
  if (table->major != 1 || !table->view || !table->import) {
    throw std::invalid_argument("tensors are looked at by DLPack 1; found version " + std::to_string(table->major) +
                                (table->view && table->import ? "" : " without a view or an import"));
  }
  table_ = table;
  tensor_ = tensor.release();
  parameter_ = parameter.release();
  is_negated_ = nb::object(tensor_.attr("is_neg")).release();
}

nb::object Tensors::multiply(nb::handle packed, nb::handle x, nb::handle bias, bool int8, unsigned threads) const {
  Plain bytes, vectors, added{};
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
  for (const std::int64_t axis : vectors.shape.first(vectors.shape.size() - 1)) {
    const auto size = static_cast<std::size_t>(axis);
    if (size != 0 && count > std::numeric_limits<std::size_t>::max() / size) return nb::none();
    count *= size;
  }
  float* result = nullptr;
  nb::object y = floats(vectors.shape, count, header.rows, result);
  if (!y.is_valid()) return nb::none();
  nb::gil_scoped_release release;
  dcz::multiply(view, vectors.as<const float>(), count, added.as<const float>(), result,
                int8 ? dcz::Activations::int8 : dcz::Activations::float32, threads);
  return y;
}

// False for another dtype or device, for elements in another order or without memory, and for a subclass.
bool Tensors::look(nb::handle tensor, nb::dlpack::dtype dtype, Plain& found) const {
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
bool Tensors::look_at_floats(nb::handle tensor, Plain& found) const {
  return look(tensor, kFloat32, found) && !nb::cast<bool>(is_negated_(tensor));
}

// A tensor of (*shape[:-1], rows), count * rows elements. Its memory is the core's, since torch takes twice as long to
// make a tensor. None if that memory cannot be had.
nb::object Tensors::floats(std::span<const std::int64_t> shape, std::size_t count, std::size_t rows,
                           float*& data) const {
  const std::size_t axes = shape.size();
  const std::size_t before = sizeof(Managed) + 2 * axes * sizeof(std::int64_t) + kAlignment;
  if (rows != 0 && count > (std::numeric_limits<std::ptrdiff_t>::max() - before) / sizeof(float) / rows) return {};
  // plain memory, aligned here: glibc takes three times as long for memory that it aligns
  void* const block = std::malloc(before + count * rows * sizeof(float));
  if (!block) return {};
  auto* const managed = new (block) Managed{};
  auto* const sizes = reinterpret_cast<std::int64_t*>(managed + 1);
  auto* const strides = sizes + axes;
  const auto end = reinterpret_cast<std::uintptr_t>(strides + axes);
  data = reinterpret_cast<float*>((end + kAlignment - 1) / kAlignment * kAlignment);
  std::int64_t stride = 1;
  for (std::size_t axis = axes; axis-- > 0;) {
    sizes[axis] = axis + 1 == axes ? static_cast<std::int64_t>(rows) : shape[axis];
    strides[axis] = stride;
    if (sizes[axis] > 1) stride *= sizes[axis];
  }
  managed->major = 1;
  managed->deleter = [](Managed* self) { std::free(self); };
  managed->tensor.data = data;
  managed->tensor.device = {nb::device::cpu::value, 0};
  managed->tensor.ndim = static_cast<std::int32_t>(axes);
  managed->tensor.dtype = kFloat32;
  managed->tensor.shape = sizes;
  managed->tensor.strides = strides;
  void* made = nullptr;
  // the tensor owns the block from here on
  if (table_->import(managed, &made) != 0) nb::raise_python_error();
  return nb::steal(static_cast<PyObject*>(made));
}

void bind_tensors(nb::module_& m) {
  m.def(
      "packed_shape",
      [](std::uintptr_t packed, std::size_t packed_bytes) {
        const dcz::PackedHeader header =
            dcz::read_packed_header({reinterpret_cast<const std::uint8_t*>(packed), packed_bytes});
        return std::pair(header.rows, header.columns);
      },
      "packed"_a, "packed_bytes"_a, "The rows and columns of packed weights at an address.");
  m.def(
      "use_tensors",
      [](const nb::capsule& exchange, nb::object tensor, nb::object parameter) {
        tensors.use(exchange, std::move(tensor), std::move(parameter));
      },
      "exchange"_a, "tensor"_a, "parameter"_a,
      "Before `multiply_tensors`: the table of functions `__dlpack_c_exchange_api__`, and the classes of tensors and "
      "of "
      "parameters. Raises ValueError for another version of DLPack.");
  m.def(
      "multiply_tensors",
      [](nb::handle packed, nb::handle x, nb::handle bias, bool int8, unsigned threads) {
        return tensors.multiply(packed, x, bias, int8, threads);
      },
      "packed"_a.none(), "x"_a.none(), "bias"_a.none(), "int8"_a, "threads"_a,
      "x W^T + bias: packed weights, x (..., columns), bias (rows,) or None. None, and nothing is done, unless all are "
      "tensors of the two classes, in C order in the CPU's memory, of uint8 and of float32, and of shapes that fit.");
}

}  // namespace dcz::python
