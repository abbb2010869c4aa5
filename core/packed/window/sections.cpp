// The sections of the forms `window` and `wide`: written one after the other, and found again.
#include "packed/window/sections.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

namespace dcz {
namespace {

constexpr std::uint64_t kMostColumns = kBlockColumns * std::numeric_limits<std::uint16_t>::max();

struct Layout {
  std::size_t codebook, digits, ends, order, sums, starts, fifths, stream, bytes;
};

Layout layout_of(const PackedHeader& header, const WindowShape& shape) {
  Sections sections;
  const std::size_t centroids = std::size_t{1} << header.code_bits;
  const std::size_t groups = header.units, pairs = header.length;
  Layout layout{};
  layout.codebook = sections.next(sizeof(float) * centroids);
  layout.digits = sections.next(shape.planes * centroids);
  layout.ends = sections.next(sizeof(std::uint32_t) * groups);
  layout.order = sections.next(sizeof(std::uint32_t) * shape.group_rows * groups);
  layout.sums = sections.next(sizeof(std::int32_t) * shape.group_rows * groups * shape.planes);
  layout.starts = sections.next(sizeof(std::uint16_t) * shape.starts * pairs);
  layout.fifths = sections.next(sizeof(std::uint64_t) * shape.fifth_words * pairs);
  layout.stream = sections.next(pair_bytes(header.code_bits) * pairs);
  layout.bytes = sections.end();
  return layout;
}

template <typename T>
void put(std::vector<std::uint8_t>& packed, std::size_t at, const std::vector<T>& values) {
  if (!values.empty()) std::memcpy(packed.data() + at, values.data(), values.size() * sizeof(T));
}

// Throws std::invalid_argument unless groups follow each other up to the last pair and each row is in one lane.
void check_groups(const WindowView& view) {
  std::uint32_t end = 0;
  for (std::size_t group = 0; group < view.groups(); ++group) {
    if (view.ends[group] < end || view.ends[group] > view.pairs()) {
      throw std::invalid_argument("packed weights with a group outside of the stream");
    }
    end = view.ends[group];
  }
  if (end != view.pairs()) throw std::invalid_argument("packed weights whose groups do not fill the stream");
  std::vector<bool> seen(view.header.rows);
  for (std::size_t lane = 0; lane < view.group_rows * view.groups(); ++lane) {
    const std::uint32_t row = view.order[lane];
    if (lane >= view.header.rows ? row != kNoRow : row >= view.header.rows || seen[row]) {
      throw std::invalid_argument("packed weights whose lanes are not the rows, each once");
    }
    if (row != kNoRow) seen[row] = true;
  }
}

}  // namespace

std::size_t PackedGroups::add_pair(std::uint8_t code_bits) {
  const std::size_t at = stream.size();
  stream.resize(at + pair_bytes(code_bits), 0);
  std::fill_n(stream.begin() + static_cast<std::ptrdiff_t>(at), 2 * kStepSlots, kNothing);
  return at;
}

void check_matrix(const Matrix& matrix, const Digits& digits, const char* form) {
  matrix.check();
  if (matrix.columns > kMostColumns) {
    throw std::invalid_argument("the form " + std::string(form) + " has at most " + std::to_string(kMostColumns) +
                                " columns");
  }
  check_digits(digits, matrix.codebook.size());
}

PackedHeader window_header(Form form, const Matrix& matrix, const Digits& digits) {
  PackedHeader header{};
  header.magic = kPackedMagic;
  header.form = form;
  header.code_bits = code_bits_for(matrix.codebook.size());
  header.grid = digits.grid;
  header.rows = matrix.rows;
  header.columns = matrix.columns;
  header.survivors = matrix.codes.size();
  header.centroids = static_cast<std::uint32_t>(matrix.codebook.size());
  header.scale8 = digits.scale8;
  header.scale16 = digits.scale16;
  return header;
}

std::vector<std::uint8_t> put_sections(PackedHeader header, const WindowShape& shape, const Matrix& matrix,
                                       const RowOrder& rows, const DigitPlanes& planes, const PackedGroups& groups) {
  header.units = static_cast<std::uint32_t>(groups.ends.size());
  header.length = groups.starts.size() / shape.starts;
  const Layout layout = layout_of(header, shape);
  header.bytes = layout.bytes;
  std::vector<std::uint8_t> packed(layout.bytes, 0);
  std::memcpy(packed.data(), &header, sizeof header);
  std::copy_n(reinterpret_cast<const std::uint8_t*>(matrix.codebook.data()), sizeof(float) * matrix.codebook.size(),
              packed.data() + layout.codebook);
  for (std::size_t plane = 0; plane < planes.size(); ++plane) {
    put(packed, layout.digits + plane * planes[plane].size(), planes[plane]);
    const auto sums = row_sums(matrix, rows, planes[plane], shape.group_rows);
    put(packed, layout.sums + plane * sums.size() * sizeof(std::int32_t), sums);
  }
  put(packed, layout.ends, groups.ends);
  put(packed, layout.order, lanes_of(rows, shape.group_rows));
  put(packed, layout.starts, groups.starts);
  if (shape.fifth_words != 0) put(packed, layout.fifths, groups.fifths);
  put(packed, layout.stream, groups.stream);
  return packed;
}

bool groups_fit(const PackedHeader& header, const WindowShape& shape) {
  return header.columns <= kMostColumns && header.units == (header.rows + shape.group_rows - 1) / shape.group_rows;
}

WindowView find_sections(std::span<const std::uint8_t> packed, const PackedHeader& header, const WindowShape& shape) {
  const Layout layout = layout_of(header, shape);
  if (layout.bytes != header.bytes) throw std::invalid_argument("packed weights whose sections do not fill them");
  WindowView view{};
  view.header = header;
  view.planes = shape.planes;
  view.group_rows = shape.group_rows;
  view.stream_bytes = pair_bytes(header.code_bits);
  const std::uint8_t* const data = packed.data();
  view.codebook = reinterpret_cast<const float*>(data + layout.codebook);
  view.digits = reinterpret_cast<const std::int8_t*>(data + layout.digits);
  view.ends = reinterpret_cast<const std::uint32_t*>(data + layout.ends);
  view.order = reinterpret_cast<const std::uint32_t*>(data + layout.order);
  view.sums = reinterpret_cast<const std::int32_t*>(data + layout.sums);
  view.starts = reinterpret_cast<const std::uint16_t*>(data + layout.starts);
  view.fifths = data + layout.fifths;
  view.stream = data + layout.stream;
  return view;
}

void check_sections(const WindowView& view, std::size_t starts, std::size_t last_start) {
  check_groups(view);
  for (std::size_t i = 0; i < starts * view.pairs(); ++i) {
    if (view.starts[i] > last_start) {
      throw std::invalid_argument("packed weights with a window behind the last column");
    }
  }
}

}  // namespace dcz
