// The surviving elements of a tensor <-> the mask section of docs/format.md.
#include "mask/mask.hpp"

#include <string>

#include "block/block.hpp"
#include "common/error.hpp"
#include "common/fields.hpp"
#include "mask/axes.hpp"
#include "mask/plan.hpp"
#include "mask/sequence.hpp"

namespace dcz {
namespace {

// The bits of the field "layout".
constexpr unsigned kByColumns = 1, kRowClasses = 2, kColumnClasses = 4;

std::string before(std::size_t offset) { return " before byte " + std::to_string(offset); }

void put_classes(std::vector<std::uint8_t>& bytes, const Classes& classes) {
  bytes.push_back(static_cast<std::uint8_t>(classes.first));
  bytes.push_back(static_cast<std::uint8_t>(classes.end));
  bytes.push_back(static_cast<std::uint8_t>(classes.count));
  append(bytes, encode_block(classes.of));
}

std::vector<std::uint8_t> take_numbers(std::span<const std::uint8_t> data, std::size_t& offset, std::uint64_t count,
                                       unsigned limit) {
  std::vector<std::uint8_t> numbers(static_cast<std::size_t>(count));
  decode_block(data, offset, numbers, limit, 1);
  return numbers;
}

unsigned take_limit(std::span<const std::uint8_t> data, std::size_t& offset, unsigned most, const char* what) {
  const unsigned limit = take_u8(data, offset, "a mask");
  if (limit < 2 || limit > most) {
    throw FormatError(std::string(what) + before(offset) + " is " + std::to_string(limit) + ", expected 2 to " +
                      std::to_string(most));
  }
  return limit;
}

// For axes from `begin` to `end` - 1 of the view's rows or columns.
Classes take_classes(std::span<const std::uint8_t> data, std::size_t& offset, std::span<const std::uint64_t> shape,
                     unsigned begin, unsigned end) {
  Classes classes;
  classes.first = take_u8(data, offset, "a mask");
  classes.end = take_u8(data, offset, "a mask");
  if (classes.first < begin || classes.first >= classes.end || classes.end > end) {
    throw FormatError("classes" + before(offset) + " are of the axes " + std::to_string(classes.first) + " to " +
                      std::to_string(classes.end) + " within " + std::to_string(begin) + " to " + std::to_string(end));
  }
  classes.count = take_limit(data, offset, kMaxClasses, "number of classes");
  classes.of = take_numbers(data, offset, extent(shape, classes.first, classes.end), classes.count);
  return classes;
}

View take_view(std::span<const std::uint8_t> data, std::size_t& offset, std::span<const std::uint64_t> shape) {
  View view;
  const unsigned layout = take_u8(data, offset, "a mask");
  if (layout > (kByColumns | kRowClasses | kColumnClasses)) {
    throw FormatError("unknown layout " + std::to_string(layout) + " of a mask" + before(offset));
  }
  if (layout == 0) return view;
  const auto axes = static_cast<unsigned>(shape.size());
  if (extent(shape, 0, axes) == 0) throw FormatError("a mask" + before(offset) + " without elements has a layout");
  view.by_columns = (layout & kByColumns) != 0;
  view.split = take_u8(data, offset, "a mask");
  if (view.split < 1 || view.split >= axes) {
    throw FormatError("a mask" + before(offset) + " is split at axis " + std::to_string(view.split) + " of " +
                      std::to_string(axes));
  }
  if ((layout & (kRowClasses | kColumnClasses)) == 0) return view;
  if (extent(shape, 0, view.split) > kMaxLines || extent(shape, view.split, axes) > kMaxLines) {
    throw FormatError("a mask" + before(offset) + " has classes, but more than 2^20 rows or columns");
  }
  if ((layout & kRowClasses) != 0) view.rows = take_classes(data, offset, shape, 0, view.split);
  if ((layout & kColumnClasses) != 0) view.columns = take_classes(data, offset, shape, view.split, axes);
  view.groups = take_limit(data, offset, kMaxGroups, "number of groups");
  view.group = take_numbers(data, offset, std::uint64_t{view.rows.count} * view.columns.count, view.groups);
  return view;
}

}  // namespace

std::vector<std::uint8_t> view_bytes(const View& view) {
  const unsigned layout = (view.by_columns ? kByColumns : 0) | (view.rows.any() ? kRowClasses : 0) |
                          (view.columns.any() ? kColumnClasses : 0);
  std::vector<std::uint8_t> bytes{static_cast<std::uint8_t>(layout)};
  if (layout == 0) return bytes;
  bytes.push_back(static_cast<std::uint8_t>(view.split));
  if (view.rows.any()) put_classes(bytes, view.rows);
  if (view.columns.any()) put_classes(bytes, view.columns);
  if (view.rows.any() || view.columns.any()) {
    bytes.push_back(static_cast<std::uint8_t>(view.groups));
    append(bytes, encode_block(view.group));
  }
  return bytes;
}

std::vector<std::uint8_t> encode_mask(const Bitmap& mask, std::span<const std::uint64_t> shape) {
  const MaskPlan plan = plan_mask(mask, shape);
  auto bytes = view_bytes(plan.view);
  for (std::size_t i = 0; i < plan.sequences.size(); ++i) put_sequence(bytes, plan.sequences[i], plan.plans[i]);
  return bytes;
}

Bitmap decode_mask(std::span<const std::uint8_t> data, std::size_t& offset, std::span<const std::uint64_t> shape,
                   unsigned threads) {
  const View view = take_view(data, offset, shape);
  const std::uint64_t size = extent(shape);
  if (view.plain()) return take_sequence(data, offset, size, threads);
  const Lines lines(view, shape);
  std::vector<Bitmap> sequences;
  for (const std::uint64_t bits : lines.group_sizes()) {
    sequences.push_back(take_sequence(data, offset, bits, threads));
  }
  Bitmap mask(size);
  scatter(lines, sequences, mask);
  return mask;
}

}  // namespace dcz
