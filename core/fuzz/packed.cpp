// Fuzzes packed weights: any bytes are refused, or checked and computed with within their bounds.
#include <limits>
#include <stdexcept>

#include "fuzz/every_set.hpp"
#include "packed/convolution/convolution.hpp"
#include "packed/dispatch/forms.hpp"

using namespace dcz::fuzz;

namespace {

// The most vectors times rows or columns of an input.
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

// Pseudo-random; by `kind` with an infinity, or an outlier, or all 0.
std::vector<float> vectors_of(std::size_t count, std::uint64_t kind) {
  std::vector<float> x(count);
  for (std::size_t i = 0; i < count; ++i) x[i] = kind == 3 ? 0 : static_cast<float>(scattered(i) >> 40) - 0x1p23f;
  if (kind == 1 && count > 0) x[count / 2] = std::numeric_limits<float>::infinity();
  if (kind == 2 && count > 0) x[count / 2] = 1e30f;
  return x;
}

struct Call {
  std::size_t vectors;
  std::uint64_t kind;
  dcz::Activations activations;
  unsigned threads;
};

void multiply(Bytes packed, const dcz::PackedHeader& header, const Call& call) {
  if (call.vectors * std::max(header.rows, header.columns) > kMostFloats) return;
  const std::vector<float> x = vectors_of(call.vectors * header.columns, call.kind), bias(header.rows, 1);
  by_every_set([&](bool) {
    std::vector<float> y(call.vectors * header.rows);
    dcz::multiply(packed, x.data(), call.vectors, call.kind == 0 ? nullptr : bias.data(), y.data(), call.activations,
                  call.threads);
  });
}

// All rows, and some of them by their numbers.
void decode(Bytes packed, const dcz::PackedHeader& header, const Call& call) {
  if (header.rows * header.columns > kMostFloats) return;
  std::vector<std::int64_t> rows;
  for (std::uint64_t row = 0; row < header.rows; row += 3) rows.push_back(static_cast<std::int64_t>(row));
  by_every_set([&](bool) {
    std::vector<float> out(header.rows * header.columns), some(rows.size() * header.columns);
    dcz::decode_rows(packed, 0, header.rows, out.data(), call.threads);
    dcz::gather_rows(packed, rows, some.data(), call.threads);
  });
}

// A convolution of 1 x 1 on 3 x 5.
void convolve(Bytes packed, const dcz::PackedHeader& header, const Call& call) {
  if (15 * std::max(header.rows, header.columns) > kMostFloats) return;
  const std::vector<float> x = vectors_of(15 * header.columns, call.kind);
  const dcz::ConvolutionShape shape{1, 1, header.columns, 3, 5, 1, 1, 0, 0, 1, 1, 3, 5};
  by_every_set([&](bool) {
    if (!dcz::has_sparse_convolution()) return;
    std::vector<float> y(15 * header.rows);
    refused_as_an_argument([&] { dcz::convolve_sparse(packed, shape, x.data(), nullptr, y.data(), call.threads); });
  });
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  Call call{};
  call.vectors = static_cast<std::size_t>(input.number(0, 20));
  call.kind = input.number(0, 3);
  call.activations = static_cast<dcz::Activations>(input.number(0, 1));
  call.threads = static_cast<unsigned>(input.number(1, 2));
  // memory of these bytes alone: reads behind them are found
  const std::vector<std::uint8_t> packed(input.rest().begin(), input.rest().end());
  dcz::PackedHeader header{};
  if (refused_as_an_argument([&] { header = dcz::header_of(packed); })) return 0;
  refused_as_an_argument([&] { dcz::check_packed(packed); });
  const bool tile = header.form == dcz::Form::tile;
  if (tile) convolve(packed, header, call);
  if (tile || header.form == dcz::Form::word) decode(packed, header, call);
  if (!tile) multiply(packed, header, call);
  return 0;
}
