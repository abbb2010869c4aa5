// The table of packed forms. A form is a row here, and a folder.
#include "packed/dispatch/forms.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

#include "packed/factored/factored.hpp"
#include "packed/panel/panel.hpp"
#include "packed/quad/quad.hpp"
#include "packed/tile/tile.hpp"
#include "packed/window/window.hpp"
#include "packed/word/word.hpp"

namespace dcz {
namespace {

using Bytes = std::span<const std::uint8_t>;
using Multiply = decltype(multiply);
using Decode = void(Bytes packed, const RowNumbers& rows, float* out, unsigned threads);

// With fewer elements a second thread would come too late.
constexpr std::size_t kElementsWorthAThread = 65536;

struct FormFunctions {
  Form form;
  PackedHeader (*header)(Bytes packed);
  void (*check)(Bytes packed);
  Multiply* multiply;
  Decode* decode;
};

template <Form kForm, auto kView, auto kCheck>
constexpr FormFunctions row(Multiply* multiply, Decode* decode) {
  return {kForm, [](Bytes packed) { return kView(packed).header; }, [](Bytes packed) { kCheck(kView(packed)); },
          multiply, decode};
}

// For a form without kernels of integers.
template <auto kMultiply>
void in_float32(Bytes packed, const float* x, std::size_t vectors, const float* bias, float* y, Activations,
                unsigned threads) {
  kMultiply(packed, x, vectors, bias, y, threads);
}

void refuse_rows(Bytes, const RowNumbers&, float*, unsigned) {
  throw std::invalid_argument("rows are decoded from the forms tile and word; found packed weights of another form");
}

void refuse(Bytes, const float*, std::size_t, const float*, float*, Activations, unsigned) {
  throw std::invalid_argument("packed weights of a form that does not multiply");
}

constexpr std::array kForms{
    row<Form::window, window_view, check_window>(multiply_window, refuse_rows),
    row<Form::panel, panel_view, check_panel>(in_float32<multiply_panel>, refuse_rows),
    row<Form::tile, tile_view, check_tile>(refuse, decode_tile),
    row<Form::quad, quad_view, check_quad>(multiply_quad, refuse_rows),
    row<Form::factored, factored_view, check_factored>(in_float32<multiply_factored>, refuse_rows),
    row<Form::word, word_view, check_word>(in_float32<multiply_word>, decode_word),
};

// read_packed_header knows no other forms.
const FormFunctions& functions_of(const PackedHeader& header) {
  return *std::find_if(kForms.begin(), kForms.end(),
                       [&](const FormFunctions& each) { return each.form == header.form; });
}

void decode(Bytes packed, const PackedHeader& header, const RowNumbers& rows, float* out, unsigned threads) {
  const std::size_t worth = 1 + rows.count * header.columns / kElementsWorthAThread;
  const auto parts = static_cast<unsigned>(std::min({std::size_t{threads}, worth, rows.count}));
  functions_of(header).decode(packed, rows, out, parts);
}

}  // namespace

PackedHeader header_of(Bytes packed) { return functions_of(read_packed_header(packed)).header(packed); }

void check_packed(Bytes packed) { functions_of(read_packed_header(packed)).check(packed); }

void multiply(Bytes packed, const float* x, std::size_t vectors, const float* bias, float* y, Activations activations,
              unsigned threads) {
  check_aligned(packed);
  const PackedHeader header = read_packed_header(packed);
  if (vectors == 0 || header.rows == 0) return;
  // kernels add to the address, though they read nothing there
  static constexpr float kNoColumns[4 * kBlockElements]{};
  if (header.columns == 0) x = kNoColumns;
  functions_of(header).multiply(packed, x, vectors, bias, y, activations, threads);
}

void decode_rows(Bytes packed, std::size_t first, std::size_t count, float* out, unsigned threads) {
  check_aligned(packed);
  const PackedHeader header = read_packed_header(packed);
  if (first > header.rows || count > header.rows - first) {
    throw std::out_of_range("packed weights do not have that many rows");
  }
  decode(packed, header, {nullptr, first, count}, out, threads);
}

void gather_rows(Bytes packed, std::span<const std::int64_t> rows, float* out, unsigned threads) {
  check_aligned(packed);
  const PackedHeader header = read_packed_header(packed);
  for (const std::int64_t row : rows) {
    if (row < 0 || static_cast<std::uint64_t>(row) >= header.rows) {
      throw std::out_of_range("row " + std::to_string(row) + " of packed weights with " + std::to_string(header.rows) +
                              " rows");
    }
  }
  decode(packed, header, {rows.data(), 0, rows.size()}, out, threads);
}

}  // namespace dcz
