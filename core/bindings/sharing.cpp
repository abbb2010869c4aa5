// The part of deepcompression._core that looks at values: magnitudes to prune by, centroids to share, what is shared
// already.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <span>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/arrays.hpp"
#include "sharing/column_rounding.hpp"
#include "sharing/histogram.hpp"
#include "sharing/kmeans.hpp"
#include "values/recognise_shared.hpp"

namespace dcz::python {
namespace {

using namespace nb::literals;

std::size_t count_digits(const In<float>& values, const InOut<std::uint64_t>& counts) {
  return unlocked([&] { return dcz::count_digits(view(values), {counts.data(), counts.size()}); });
}

void add_to_bins(const In<float>& values, const In<std::uint64_t>& first, const In<std::uint8_t>& split,
                 const InOut<std::uint64_t>& counts, const InOut<double>& sums) {
  unlocked([&] {
    dcz::add_to_bins(view(values), view(first), view(split), {counts.data(), counts.size()},
                     {sums.data(), sums.size()});
  });
}

void count_magnitudes(const In<std::uint8_t>& elements, unsigned item_bytes, std::uint64_t prefix, unsigned shift,
                      const InOut<std::uint64_t>& counts) {
  check_items(elements.size(), item_bytes);
  unlocked([&] { dcz::count_magnitudes(view(elements), item_bytes, prefix, shift, {counts.data(), counts.size()}); });
}

using Shared = std::tuple<Out<std::uint8_t>, Out<std::uint64_t>, Out<std::uint8_t>>;

std::optional<Shared> recognise_shared(const In<std::uint8_t>& elements, unsigned item_bytes) {
  check_items(elements.size(), item_bytes);
  auto found = unlocked([&] { return dcz::recognise_shared(view(elements), item_bytes); });
  if (!found) return std::nullopt;
  return Shared{own(std::move(found->bitmap)), to_array(found->distinct), own(std::move(found->codes))};
}

using Weights = std::optional<In<std::uint64_t>>;

std::span<const std::uint64_t> view_or_none(const Weights& weights) {
  return weights ? view(*weights) : std::span<const std::uint64_t>{};
}

Out<float> lloyd(const In<float>& ordered, const In<float>& centroids, const Weights& weights) {
  std::vector<float> start(centroids.data(), centroids.data() + centroids.size());
  return to_array(unlocked([&] { return dcz::lloyd(view(ordered), std::move(start), view_or_none(weights)); }));
}

Out<float> optimal_centroids(const In<float>& ordered, std::size_t k, const Weights& weights) {
  return to_array(unlocked([&] { return dcz::optimal_centroids(view(ordered), k, view_or_none(weights)); }));
}

Out<std::uint8_t> assign(const In<float>& values, const In<float>& centroids) {
  Result<std::uint8_t> codes(values.size());
  unlocked([&] { dcz::assign(view(values), view(centroids), codes.span()); });
  return codes.release();
}

std::span<const float> view_or_none(const std::optional<In<float>>& array) {
  return array ? view(*array) : std::span<const float>{};
}

double round_columns(const In<float>& centroids, std::size_t zero, const std::optional<In<float>>& prices,
                     const std::vector<std::size_t>& shape, std::size_t first, std::size_t width,
                     const In<float>& weights, const std::optional<In<float>>& upper, const In<float>& importance,
                     const In<float>& row_weights, const std::optional<In<std::uint8_t>>& survives,
                     const InOut<float>& targets, const InOut<std::int16_t>& codes, const InOut<float>& errors,
                     const InOut<double>& counts, const InOut<double>& sums_of_weights, const InOut<double>& sums,
                     unsigned threads) {
  if (shape.size() != 3) throw std::invalid_argument("the shape is (groups, rows, columns)");
  const auto out = [](const auto& array) { return std::span{array.data(), array.size()}; };
  const dcz::Columns columns{shape[0],
                             shape[1],
                             shape[2],
                             first,
                             width,
                             view(weights),
                             view_or_none(upper),
                             view(importance),
                             view(row_weights),
                             survives ? view(*survives) : std::span<const std::uint8_t>{}};
  const dcz::Rounded rounded{out(targets), out(codes), out(errors), out(counts), out(sums_of_weights), out(sums)};
  return unlocked(
      [&] { return dcz::round_columns({view(centroids), zero, view_or_none(prices)}, columns, rounded, threads); });
}

}  // namespace

void bind_sharing(nb::module_& m) {
  m.def("count_digits", &count_digits, "values"_a.noconvert(), "counts"_a.noconvert());
  m.def("add_to_bins", &add_to_bins, "values"_a.noconvert(), "first"_a.noconvert(), "split"_a.noconvert(),
        "counts"_a.noconvert(), "sums"_a.noconvert());
  m.def("count_magnitudes", &count_magnitudes, "elements"_a.noconvert(), "item_bytes"_a, "prefix"_a, "shift"_a,
        "counts"_a.noconvert());
  m.def("recognise_shared", &recognise_shared, "elements"_a.noconvert(), "item_bytes"_a);
  m.def("lloyd", &lloyd, "ordered"_a.noconvert(), "centroids"_a.noconvert(), "weights"_a.noconvert() = nb::none());
  m.def("optimal_centroids", &optimal_centroids, "ordered"_a.noconvert(), "k"_a, "weights"_a.noconvert() = nb::none());
  m.def("round_columns", &round_columns, "centroids"_a.noconvert(), "zero"_a, "prices"_a.noconvert().none(), "shape"_a,
        "first"_a, "width"_a, "weights"_a.noconvert(), "upper"_a.noconvert().none(), "importance"_a.noconvert(),
        "row_weights"_a.noconvert(), "survives"_a.noconvert().none(), "targets"_a.noconvert(), "codes"_a.noconvert(),
        "errors"_a.noconvert(), "counts"_a.noconvert(), "sums_of_weights"_a.noconvert(), "sums"_a.noconvert(),
        "threads"_a = 1);
  m.def("assign", &assign, "values"_a.noconvert(), "centroids"_a.noconvert());
}

}  // namespace dcz::python
