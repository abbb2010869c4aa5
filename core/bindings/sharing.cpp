// The part of deepcompression._core that looks at values: magnitudes to prune by, centroids, tensors already shared.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

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
  return unlocked([&] { return dcz::count_digits(view(values), view(counts)); });
}

void add_to_bins(const In<float>& values, const In<std::uint64_t>& first, const In<std::uint8_t>& split,
                 const InOut<std::uint64_t>& counts, const InOut<double>& sums) {
  unlocked([&] { dcz::add_to_bins(view(values), view(first), view(split), view(counts), view(sums)); });
}

void count_magnitudes(const In<std::uint8_t>& elements, unsigned item_bytes, std::uint64_t prefix, unsigned shift,
                      const InOut<std::uint64_t>& counts) {
  check_items(elements.size(), item_bytes);
  unlocked([&] { dcz::count_magnitudes(view(elements), item_bytes, prefix, shift, view(counts)); });
}

using Shared = std::tuple<Out<std::uint8_t>, Out<std::uint64_t>, Out<std::uint8_t>>;

std::optional<Shared> recognise_shared(const In<std::uint8_t>& elements, unsigned item_bytes) {
  check_items(elements.size(), item_bytes);
  auto found = unlocked([&] { return dcz::recognise_shared(view(elements), item_bytes); });
  if (!found) return std::nullopt;
  return Shared{own(std::move(found->bitmap)), own(std::move(found->distinct)), own(std::move(found->codes))};
}

using Weights = std::optional<In<std::uint64_t>>;

template <typename Array>
auto view_or_none(const std::optional<Array>& array) {
  return array ? view(*array) : decltype(view(*array)){};
}

Out<float> lloyd(const In<float>& ordered, const In<float>& centroids, const Weights& weights) {
  std::vector<float> start(centroids.data(), centroids.data() + centroids.size());
  return own(unlocked([&] { return dcz::lloyd(view(ordered), std::move(start), view_or_none(weights)); }));
}

Out<float> optimal_centroids(const In<float>& ordered, std::size_t k, const Weights& weights) {
  return own(unlocked([&] { return dcz::optimal_centroids(view(ordered), k, view_or_none(weights)); }));
}

Out<std::uint8_t> assign(const In<float>& values, const In<float>& centroids) {
  Result<std::uint8_t> codes(values.size());
  unlocked([&] { dcz::assign(view(values), view(centroids), codes.span()); });
  return codes.release();
}

double round_columns(const In<float>& centroids, std::size_t zero, const std::optional<In<float>>& prices,
                     std::size_t first, const In<float, 3>& weights, const std::optional<In<float, 3>>& upper,
                     const In<float, 2>& importance, const In<float, 2>& row_weights,
                     const std::optional<In<bool, 3>>& survives, const InOut<float, 3>& targets,
                     const InOut<std::int16_t, 3>& codes, const InOut<float, 3>& errors, const InOut<double>& counts,
                     const InOut<double>& sums_of_weights, const InOut<double>& sums, unsigned threads) {
  const dcz::ColumnRounding rounding{.centroids = view(centroids), .zero = zero, .prices = view_or_none(prices)};
  const dcz::Columns columns{.groups = weights.shape(0),
                             .rows = weights.shape(1),
                             .columns = weights.shape(2),
                             .first = first,
                             .width = targets.shape(2),
                             .weights = view(weights),
                             .upper = view_or_none(upper),
                             .importance = view(importance),
                             .row_weights = view(row_weights),
                             .survives = survives ? bytes_of(*survives) : std::span<const std::uint8_t>{}};
  const dcz::RoundedColumns rounded{.targets = view(targets),
                                    .codes = view(codes),
                                    .errors = view(errors),
                                    .counts = view(counts),
                                    .sums_of_weights = view(sums_of_weights),
                                    .sums = view(sums)};
  return unlocked([&] { return dcz::round_columns(rounding, columns, rounded, threads); });
}

}  // namespace

void bind_sharing(nb::module_& m) {
  m.def("count_digits", &count_digits, "values"_a.noconvert(), "counts"_a.noconvert(),
        "Adds to the counts of values by the first 16 bits of an integer that ascends with them. Gives the number of "
        "values that are not finite, which it does not count.");
  m.def("add_to_bins", &add_to_bins, "values"_a.noconvert(), "first"_a.noconvert(), "split"_a.noconvert(),
        "counts"_a.noconvert(), "sums"_a.noconvert(),
        "Adds finite values to the count and sum of their bins. Values of digit d (of `count_digits`) go by the next "
        "`split[d]` bits to a bin from `first[d]` on.");
  m.def("count_magnitudes", &count_magnitudes, "elements"_a.noconvert(), "item_bytes"_a, "prefix"_a, "shift"_a,
        "counts"_a.noconvert(),
        "Adds to the counts of floats of 2, 4 or 8 bytes with the higher bits `prefix`, without the sign, by their 16 "
        "bits from `shift` on.");
  m.def(
      "recognise_shared", &recognise_shared, "elements"_a.noconvert(), "item_bytes"_a,
      "For elements of 2, 4 or 8 bytes with a bit set: their bitmap, the distinct ones as ascending integers, and the "
      "number of each among these. None if more than 256 are distinct.");
  m.def(
      "lloyd", &lloyd, "ordered"_a.noconvert(), "centroids"_a.noconvert(), "weights"_a.noconvert() = nb::none(),
      "Lloyd's k-means of ascending values, with their weights, from 1 to 256 ascending centroids until nothing "
      "changes.\n\nNo cluster of the strictly ascending result is empty: a centroid without values moves to the value "
      "farthest from its own. Raises ValueError for fewer distinct values than centroids.");
  m.def("optimal_centroids", &optimal_centroids, "ordered"_a.noconvert(), "k"_a, "weights"_a.noconvert() = nb::none(),
        "The k centroids, 1 to 256, of least squared error for ascending values. Raises ValueError as `lloyd` does.");
  m.def("round_columns", &round_columns, nb::kw_only(), "centroids"_a.noconvert(), "zero"_a,
        "prices"_a.noconvert().none(), "first"_a, "weights"_a.noconvert(), "upper"_a.noconvert().none(),
        "importance"_a.noconvert(), "row_weights"_a.noconvert(), "survives"_a.noconvert().none(),
        "targets"_a.noconvert(), "codes"_a.noconvert(), "errors"_a.noconvert(), "counts"_a.noconvert(),
        "sums_of_weights"_a.noconvert(), "sums"_a.noconvert(), "threads"_a = 1,
        "Rounds columns of weights (groups, rows, columns), from `first` on, to centroids: see "
        "core/sharing/column_rounding.hpp.\n\nSets the codes and errors of these columns, adds to counts and "
        "sums by code, and takes the errors over to `targets`. Gives the cost.");
  m.def("assign", &assign, "values"_a.noconvert(), "centroids"_a.noconvert(),
        "Index of the nearest of 1 to 256 ascending centroids, the lower one on ties. Values are not NaN.");
}

}  // namespace dcz::python
