// The C interface: packed weights and their products.
#include <bit>
#include <cmath>
#include <functional>
#include <span>
#include <vector>

#include "boundary.hpp"
#include "common/bits.hpp"
#include "common/cpu.hpp"
#include "common/shape.hpp"
#include "handles.hpp"
#include "packed/choice/choice.hpp"
#include "packed/dispatch/forms.hpp"
#include "packed/dispatch/pack.hpp"

namespace dcz::c {
namespace {

Activations activations_of(dcz_activations activations) {
  if (activations == DCZ_ACTIVATIONS_FLOAT32) return Activations::float32;
  if (activations == DCZ_ACTIVATIONS_INT8) return Activations::int8;
  throw std::invalid_argument("activations are DCZ_ACTIVATIONS_FLOAT32 or DCZ_ACTIVATIONS_INT8; found " +
                              std::to_string(activations));
}

float half(std::uint32_t bits) {
  const std::uint32_t exponent = bits >> 10 & 31, fraction = bits & 1023;
  const float sign = bits >> 15 ? -1.0f : 1.0f;
  if (exponent == 31) return std::bit_cast<float>((bits >> 15) << 31 | 0x7f800000u | fraction << 13);
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  return sign * std::ldexp(static_cast<float>(fraction | 1024), static_cast<int>(exponent) - 25);
}

float element_of(std::string_view dtype, const std::uint8_t* bytes) {
  if (dtype == "F64") return static_cast<float>(std::bit_cast<double>(load_le<std::uint64_t>(bytes)));
  if (dtype == "F32") return std::bit_cast<float>(load_le<std::uint32_t>(bytes));
  if (dtype == "F16") return half(load_le<std::uint16_t>(bytes));
  return std::bit_cast<float>(std::uint32_t{load_le<std::uint16_t>(bytes)} << 16);  // BF16
}

std::vector<float> floats_of(const Dtype& dtype, std::span<const std::uint8_t> codebook) {
  std::vector<float> floats;
  for (std::size_t at = 0; at < codebook.size(); at += dtype.item_bytes()) {
    floats.push_back(element_of(dtype.name, &codebook[at]));
  }
  return floats;
}

PageBytes packed_from(const dcz_reader* reader, std::size_t number, const Way& way, unsigned threads) {
  const Entry& entry = entry_of(reader, number);
  const std::string name = "tensor " + in_quotes(entry.name);
  if (entry.shape.size() < 2) {
    throw std::invalid_argument(name + " has the shape " + to_text(entry.shape) +
                                ": packed weights have two or more dimensions");
  }
  const auto shared = reader->reader.shared(number, threads);
  if (!shared) {
    throw std::invalid_argument(name + " is not shared, so it cannot be packed: decode it instead");
  }
  const std::vector<float> codebook = floats_of(*entry.dtype, shared->codebook);
  const Matrix matrix{entry.shape[0], extent(entry.shape, 1, entry.shape.size()), shared->bitmap, shared->codes,
                      codebook};
  const Digits digits = digits_of(codebook);
  return pack(form_for(matrix, digits, way), matrix, digits, layout_for(matrix, digits, way));
}

// Whether two rows of floats share memory.
bool overlap(const float* a, std::size_t a_length, const float* b, std::size_t b_length) {
  const std::less<const float*> before;
  return a_length > 0 && b_length > 0 && before(a, b + b_length) && before(b, a + a_length);
}

void check_floats(const float* floats, std::size_t length, std::size_t vectors, std::uint64_t each, const char* what) {
  if (each > 0 && vectors > ~std::size_t{0} / each) throw std::invalid_argument("no memory holds so many vectors");
  check_length(what, length, vectors * static_cast<std::size_t>(each), "floats");
  if (length > 0) given(floats, what);
}

}  // namespace
}  // namespace dcz::c

using namespace dcz::c;

extern "C" {

dcz_status dcz_packed_make(const dcz_reader* reader, size_t number, dcz_activations activations, size_t vectors,
                           uint32_t threads, dcz_packed** packed) {
  return guarded([&] {
    given(packed, "packed");
    const dcz::Way way{activations_of(activations), vectors, dcz::instruction_set()};
    *packed = new dcz_packed{packed_from(reader, number, way, threads_of(threads))};
  });
}

void dcz_packed_free(dcz_packed* packed) { delete packed; }

dcz_status dcz_packed_describe(const dcz_packed* packed, dcz_packed_facts* facts, size_t size) {
  return guarded([&] {
    const std::span<const std::uint8_t> bytes = given(packed, "packed").bytes;
    const dcz::PackedHeader header = dcz::header_of(bytes);
    give({header.rows, header.columns, header.survivors, header.centroids, dcz::name_of(header.form).data(),
          bytes.data(), bytes.size()},
         facts, size, "facts");
  });
}

dcz_status dcz_packed_multiply(const dcz_packed* packed, const dcz_product* product, size_t size) {
  return guarded([&] {
    const std::span<const std::uint8_t> bytes = given(packed, "packed").bytes;
    dcz_product of{};
    std::memcpy(&of, &given(product, "product"), std::min(size, sizeof of));
    const dcz::Activations activations = activations_of(of.activations);
    const dcz::PackedHeader header = dcz::header_of(bytes);
    check_floats(of.x, of.x_length, of.vectors, header.columns, "x");
    check_floats(of.y, of.y_length, of.vectors, header.rows, "y");
    if (of.bias || of.bias_length > 0) check_floats(of.bias, of.bias_length, 1, header.rows, "bias");
    if (overlap(of.x, of.x_length, of.y, of.y_length) || overlap(of.bias, of.bias_length, of.y, of.y_length)) {
      throw std::invalid_argument("y must share no memory with x and bias");
    }
    dcz::multiply(bytes, of.x, of.vectors, of.bias, of.y, activations, threads_of(of.threads));
  });
}
}
