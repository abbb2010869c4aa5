// The part of deepcompression._core that applies patches, by the code that boards run.
#include <device/patch.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/tuple.h>

#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/arrays.hpp"
#include "common/error.hpp"

namespace dcz::python {
namespace {

using namespace nb::literals;

dcz_error append(void* user, std::uint32_t, const std::uint8_t* from, std::uint32_t length) {
  auto& bytes = *static_cast<std::vector<std::uint8_t>*>(user);
  bytes.insert(bytes.end(), from, from + length);
  return DCZ_OK;
}

dcz_source source_of(std::span<const std::uint8_t> bytes) {
  if (bytes.size() > std::numeric_limits<std::uint32_t>::max()) {
    throw std::invalid_argument("files of patches have at most 2^32 - 1 bytes");
  }
  return {bytes.data(), nullptr, nullptr, static_cast<std::uint32_t>(bytes.size())};
}

std::tuple<Out<std::uint8_t>, std::uint32_t, std::uint32_t> apply_patch(const Data& patch, const Data& old,
                                                                        std::uint32_t page) {
  if (page == 0) throw std::invalid_argument("a page has at least one byte");
  const dcz_source bytes = source_of(view(patch)), before = source_of(view(old));
  std::vector<std::uint8_t> made;
  dcz_patch state;
  unlocked([&] {
    std::vector<std::uint32_t> work(1 << 15);
    dcz_error error = dcz_patch_open(&state, &bytes, &before, work.data(), 4u << 15);
    state.page = page;
    if (error == DCZ_OK) error = dcz_patch_apply(&state, append, &made);
    if (error != DCZ_OK) throw dcz::FormatError(dcz_error_text(error));
  });
  return {own(std::move(made)), state.work_size, state.shift};
}

}  // namespace

void bind_delta(nb::module_& m) {
  m.def(
      "apply_patch", &apply_patch, "patch"_a, "old"_a, "page"_a,
      "The bytes that a plain patch makes of `old`. Then two numbers for boards: the bytes of the work buffer, and how "
      "far `old` must lie behind the place of the new file in flash memory with pages of `page` bytes.");
}

}  // namespace dcz::python
