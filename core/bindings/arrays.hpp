// Arrays between Python and the core: views of arguments, owners of results.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "common/page_bytes.hpp"

namespace dcz::python {

namespace nb = nanobind;

// C-contiguous arrays of so many axes: read by the core, written by the core, and results.
template <typename T, std::size_t kAxes = 1>
using In = nb::ndarray<const T, nb::ndim<kAxes>, nb::c_contig, nb::device::cpu>;
template <typename T, std::size_t kAxes = 1>
using InOut = nb::ndarray<T, nb::ndim<kAxes>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Out = nb::ndarray<nb::numpy, T, nb::ndim<1>>;

// All elements, in C order.
template <typename T, typename... Limits>
std::span<T> view(const nb::ndarray<T, Limits...>& array) {
  return {array.data(), array.size()};
}

// NumPy's booleans may hold any byte, C++'s may not.
template <typename... Limits>
std::span<const std::uint8_t> bytes_of(const nb::ndarray<const bool, Limits...>& truths) {
  return {reinterpret_cast<const std::uint8_t*>(truths.data()), truths.size()};
}

// An array for Python, not filled with zeros first.
template <typename T>
class Result {
 public:
  explicit Result(std::size_t size) : data_(new T[size]), size_(size) {}

  std::span<T> span() { return {data_.get(), size_}; }
  Out<T> release(std::size_t size) {
    nb::capsule owner(data_.get(), [](void* data) noexcept { delete[] static_cast<T*>(data); });
    return Out<T>(data_.release(), {size}, owner);
  }
  Out<T> release() { return release(size_); }

 private:
  std::unique_ptr<T[]> data_;
  std::size_t size_;
};

// Takes the vector over.
template <typename T>
Out<T> own(std::vector<T>&& values) {
  auto owned = std::make_unique<std::vector<T>>(std::move(values));
  T* const data = owned->data();
  const std::size_t size = owned->size();
  nb::capsule owner(owned.get(), [](void* vector) noexcept { delete static_cast<std::vector<T>*>(vector); });
  owned.release();
  return Out<T>(data, {size}, owner);
}

inline Out<std::uint8_t> own_pages(dcz::PageBytes&& bytes) {
  auto owned = std::make_unique<dcz::PageBytes>(std::move(bytes));
  std::uint8_t* data = owned->data();
  const std::size_t size = owned->size();
  nb::capsule owner(owned.get(), [](void* pages) noexcept { delete static_cast<dcz::PageBytes*>(pages); });
  owned.release();
  return Out<std::uint8_t>(data, {size}, owner);
}

inline nb::bytes to_bytes(const std::vector<std::uint8_t>& bytes) { return nb::bytes(bytes.data(), bytes.size()); }

// Throws std::invalid_argument for bytes that are no elements of this size.
inline void check_items(std::size_t bytes, unsigned item_bytes) {
  if (item_bytes != 1 && item_bytes != 2 && item_bytes != 4 && item_bytes != 8) {
    throw std::invalid_argument("elements have 1, 2, 4 or 8 bytes");
  }
  if (bytes % item_bytes != 0) throw std::invalid_argument("the bytes are no whole number of elements");
}

// Runs without the GIL.
template <typename Work>
auto unlocked(Work work) {
  nb::gil_scoped_release release;
  return work();
}

// Bytes to decode: an array, or any object of the buffer protocol.
struct Data : In<std::uint8_t> {
  using In<std::uint8_t>::In;
};

}  // namespace dcz::python

template <>
struct nanobind::detail::type_caster<dcz::python::Data> {
  NB_TYPE_CASTER(dcz::python::Data, const_name("typing_extensions.Buffer"))

  bool from_python(handle source, std::uint32_t flags, cleanup_list* cleanup) noexcept {
    make_caster<dcz::python::In<std::uint8_t>> array;
    if (!array.from_python(source, flags, cleanup)) return false;
    static_cast<dcz::python::In<std::uint8_t>&>(value) = std::move(array.value);
    return true;
  }
};
