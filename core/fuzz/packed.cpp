// Fuzzes packed weights: whatever the bytes, they are refused, or checked and multiplied within their bounds.
#include "packed.hpp"

#include <limits>
#include <stdexcept>

#include "every_set.hpp"
#include "multiply.hpp"
#include "quad.hpp"
#include "window.hpp"

using namespace dcz::fuzz;

namespace {

// Vectors times rows or columns that an input may ask for.
constexpr std::uint64_t kMostFloats = 1u << 18;

template <typename Use>
bool refused_as_an_argument(const Use& use) {
  try {
    use();
  } catch (const std::invalid_argument&) {
    return true;
  }
  return false;
}

// What looks like chance; as `kind` says with an infinity, or an outlier, or all of it 0.
std::vector<float> vectors_of(std::size_t count, std::uint64_t kind) {
  std::vector<float> x(count);
  for (std::size_t i = 0; i < count; ++i) x[i] = kind == 3 ? 0 : static_cast<float>(mixed(i) >> 40) - 0x1p23f;
  if (kind == 1 && count > 0) x[count / 2] = std::numeric_limits<float>::infinity();
  if (kind == 2 && count > 0) x[count / 2] = 1e30f;
  return x;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const auto vectors = static_cast<std::size_t>(input.number(0, 9));
  const std::uint64_t kind = input.number(0, 3);
  const auto activations = static_cast<dcz::Activations>(input.number(0, 1));
  const auto threads = static_cast<unsigned>(input.number(1, 2));
  // memory of just these bytes, so that what is read behind them is found
  const std::vector<std::uint8_t> packed(input.rest().begin(), input.rest().end());
  dcz::WindowView window{};
  dcz::QuadView quad{};
  const bool is_window = !refused_as_an_argument([&] { window = dcz::window_view(packed); });
  if (!is_window && refused_as_an_argument([&] { quad = dcz::quad_view(packed); })) return 0;
  const dcz::PackedHeader& header = is_window ? window.header : quad.header;
  const std::uint64_t rows = header.rows, columns = header.columns;
  if (vectors * std::max(rows, columns) > kMostFloats) return 0;
  refused_as_an_argument([&] { is_window ? dcz::check_window(window) : dcz::check_quad(quad); });
  const std::vector<float> x = vectors_of(vectors * columns, kind), bias(rows, 1);
  by_every_set([&](bool) {
    std::vector<float> y(vectors * rows);
    dcz::multiply(packed, x.data(), vectors, kind == 0 ? nullptr : bias.data(), y.data(), activations, threads);
  });
  return 0;
}
