// Torch tensors seen and made through DLPack's table of functions: to ask Python for their addresses, dtypes and shapes
// would take longer than to compute a small layer.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace dcz::python {

namespace nb = nanobind;

// DLPackExchangeAPI of DLPack 1, as a library of tensors gives it.
struct ExchangeTable {
  std::uint32_t major, minor;
  const void* previous;
  const void *allocate, *export_tensor;
  // Makes a tensor of memory that it frees. -1 with a Python exception.
  int (*import)(void* managed, void** tensor);
  // Looks at a tensor without a new reference. -1 with a Python exception for one without plain memory.
  int (*view)(void* tensor, nb::dlpack::dltensor* found);
  const void* current_stream;
};

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

// How tensors are looked at. The classes and functions live as long as the process, as torch does.
class Tensors {
 public:
  void use(const nb::capsule& exchange, nb::object tensor, nb::object parameter);

  // y, or None for what the kernels do not take as it is.
  nb::object multiply(nb::handle packed, nb::handle x, nb::handle bias, bool int8, unsigned threads) const;

 private:
  bool look(nb::handle tensor, nb::dlpack::dtype dtype, Plain& found) const;
  bool look_at_floats(nb::handle tensor, Plain& found) const;
  nb::object floats(std::span<const std::int64_t> shape, std::size_t count, std::size_t rows, float*& data) const;

  const ExchangeTable* table_ = nullptr;
  nb::handle tensor_, parameter_, is_negated_;
};

extern Tensors tensors;

}  // namespace dcz::python
