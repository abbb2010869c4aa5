// Multiplies packed matrices by every instruction set, and prints checksums of the sums of integers. These are exact:
// equal lines on every machine. Floats are compared with sums of doubles. An argument names an instruction set that
// must be available.
#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "common/bitmap.hpp"
#include "common/cpu.hpp"
#include "cross/random.hpp"
#include "packed/dispatch/forms.hpp"
#include "packed/panel/panel.hpp"
#include "packed/tile/tile.hpp"
#include "packed/window/window.hpp"

namespace {

using Floats = std::vector<float>;

// Between -1 and 1, in steps that float32 has.
float random_float() {
  return static_cast<float>(static_cast<std::int64_t>(random_bits() >> 40) - (1 << 23)) * 0x1p-23f;
}

// Of the bits of floats.
std::uint64_t checksum(const Floats& values) {
  return ::checksum({reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(float)});
}

// A matrix, its codebook and its digits.
struct Case {
  std::size_t rows, columns;
  dcz::Bitmap bitmap;
  std::vector<std::uint8_t> codes;
  Floats codebook;
  dcz::Digits digits;

  Case(std::size_t r, std::size_t c, unsigned percent, std::size_t centroids, dcz::Grid grid)
      : rows(r), columns(c), bitmap(r * c), digits{grid, 0, 0, {}, {}} {
    for (std::size_t row = 0; row < rows; ++row) {
      const unsigned here = row % 5 == 4 ? percent / 2 : percent;  // rows of several lengths
      for (std::size_t i = row * columns; i < (row + 1) * columns; ++i) {
        if (random_bits() % 100 < here) {
          bitmap.set(i);
          codes.push_back(static_cast<std::uint8_t>(random_bits() % centroids));
        }
      }
    }
    for (std::size_t i = 0; i < centroids; ++i) add_centroid(i);
    find_int8();
  }

  dcz::Matrix matrix() const { return {rows, columns, bitmap.bytes(), codes, codebook}; }

 private:
  void add_centroid(std::size_t number) {
    if (digits.grid == dcz::Grid::none) return codebook.push_back(random_float());
    const bool wide = digits.grid == dcz::Grid::int16;
    const int most = wide ? 32639 : 127;
    // -32384 = 256 * -126 - 128: the bytes with the largest products
    const int digit = number == 0 && wide ? -32384 : static_cast<int>(random_bits() % (2u * most + 1)) - most;
    (wide ? digits.int16 : digits.int8).push_back(static_cast<std::int16_t>(digit));
    digits.scale8 = digits.scale16 = wide ? 0x1p-15f : 0x1p-7f;
    codebook.push_back(static_cast<float>(digit) * digits.scale16);
  }

  // The nearest digits, unless the codebook is on that grid.
  void find_int8() {
    if (digits.grid == dcz::Grid::int8) return;
    float largest = 0;
    for (const float centroid : codebook) largest = std::max(largest, std::fabs(centroid));
    digits.scale8 = largest > 0 ? largest / 127 : 1;
    for (const float centroid : codebook) {
      digits.int8.push_back(static_cast<std::int16_t>(std::lrintf(centroid / digits.scale8)));
    }
  }
};

struct Inputs {
  std::size_t vectors;
  Floats x, bias;

  Inputs(const Case& of, std::size_t count, bool outstanding) : vectors(count), x(count * of.columns), bias(of.rows) {
    for (auto& element : x) element = random_float();
    for (auto& element : bias) element = random_float();
    // too large for fixed point beside the others
    for (std::size_t v = 0; outstanding && v < count; ++v) x[v * of.columns] = 100;
  }
};

// The product in doubles, by dense rows.
std::vector<double> reference(const Case& of, const Inputs& inputs) {
  std::vector<double> found(inputs.vectors * of.rows);
  std::size_t code = 0;
  for (std::size_t row = 0; row < of.rows; ++row) {
    for (std::size_t v = 0; v < inputs.vectors; ++v) found[v * of.rows + row] = static_cast<double>(inputs.bias[row]);
    for (std::size_t column = 0; column < of.columns; ++column) {
      const std::size_t at = row * of.columns + column;
      if (!(of.bitmap.bytes()[at / 8] >> (at % 8) & 1)) continue;
      const auto weight = static_cast<double>(of.codebook[of.codes[code++]]);
      for (std::size_t v = 0; v < inputs.vectors; ++v) {
        found[v * of.rows + row] += weight * static_cast<double>(inputs.x[v * of.columns + column]);
      }
    }
  }
  return found;
}

Floats product(std::string_view set, std::span<const std::uint8_t> packed, const Case& of, const Inputs& inputs,
               dcz::Activations activations, unsigned threads) {
  dcz::force_instruction_set(set);
  Floats y(inputs.vectors * of.rows, 1e30f);
  dcz::multiply(packed, inputs.x.data(), inputs.vectors, inputs.bias.data(), y.data(), activations, threads);
  return y;
}

// Of the largest result.
constexpr double kMostError = 1e-6;

bool near(const Floats& y, const std::vector<double>& expected, double limit) {
  double largest = 0, error = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    largest = std::max(largest, std::fabs(expected[i]));
    error = std::max(error, std::fabs(static_cast<double>(y[i]) - expected[i]));
  }
  return error <= limit * largest;
}

// Tries every instruction set, with one thread and with two. `exact`: all must give the same bits.
void report(const char* what, std::span<const std::uint8_t> packed, const Case& of, const Inputs& inputs,
            dcz::Activations activations, bool exact) {
  const Floats first = product("portable", packed, of, inputs, activations, 1);
  const auto expected = activations == dcz::Activations::float32 ? reference(of, inputs) : std::vector<double>{};
  bool right = true;
  for (const std::string& set : dcz::instruction_sets()) {
    for (const unsigned threads : {1u, 2u}) {
      const Floats y = product(set, packed, of, inputs, activations, threads);
      if (exact) right &= std::memcmp(y.data(), first.data(), y.size() * sizeof(float)) == 0;
      if (!expected.empty()) right &= near(y, expected, kMostError);
    }
  }
  std::printf("%-6s %4zu x %5zu, %3zu centroids, grid %2d, %zu vectors %016" PRIx64 " %s\n", what, of.rows, of.columns,
              of.codebook.size(), static_cast<int>(of.digits.grid), inputs.vectors, exact ? checksum(first) : 0,
              right ? "right" : "WRONG");
}

void report_tile(const Case& of) {
  const auto packed = dcz::pack_tile(of.matrix());
  Floats first;
  bool right = true;
  for (const std::string& set : dcz::instruction_sets()) {
    dcz::force_instruction_set(set);
    Floats rows(of.rows * of.columns, 1e30f);
    dcz::decode_rows(packed, 0, of.rows, rows.data(), 1);
    if (first.empty()) first = rows;
    right &= std::memcmp(rows.data(), first.data(), rows.size() * sizeof(float)) == 0;
  }
  std::printf("tile %016" PRIx64 " %s\n", checksum(first), right ? "right" : "WRONG");
}

constexpr dcz::WindowLayout kLayouts[] = {dcz::WindowLayout::by_row, dcz::WindowLayout::by_slot,
                                          dcz::WindowLayout::digits24, dcz::WindowLayout::one_window};

void report_all(const Case& of, std::size_t vectors) {
  for (const auto layout : kLayouts) {
    const auto packed = dcz::pack_window(of.matrix(), of.digits, layout);
    const bool exact = of.digits.grid == dcz::Grid::int8 || dcz::window_view(packed).planes > 1;
    const Inputs even(of, vectors, false), outstanding(of, vectors, true);
    report("x8", packed, of, even, dcz::Activations::int8, true);
    report(exact ? "x24" : "floats", packed, of, even, dcz::Activations::float32, exact);
    // an outstanding element among few columns still fits
    if (exact && of.columns > 600) report("floats", packed, of, outstanding, dcz::Activations::float32, false);
  }
  report("panel", dcz::pack_panel(of.matrix()), of, Inputs(of, vectors, false), dcz::Activations::float32, false);
}

// The largest bytes everywhere: the sums come closest to their limit.
void report_largest() {
  Case of(3, 65536, 101, 1, dcz::Grid::int16);
  Inputs inputs(of, 2, false);
  std::fill(inputs.x.begin(), inputs.x.end(), -0x1.fffffcp-1f);
  for (const auto layout : {dcz::WindowLayout::by_row, dcz::WindowLayout::by_slot}) {
    const auto packed = dcz::pack_window(of.matrix(), of.digits, layout);
    report("x24", packed, of, inputs, dcz::Activations::float32, true);
    report("x8", packed, of, inputs, dcz::Activations::int8, true);
  }
}

bool has(const std::string& set) {
  const auto sets = dcz::instruction_sets();
  return std::find(sets.begin(), sets.end(), set) != sets.end();
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 1 && !has(arguments[1])) {
    std::printf("no instruction set %s here\n", arguments[1]);
    return 1;
  }
  std::size_t vectors = 0;
  for (const auto grid : {dcz::Grid::none, dcz::Grid::int8, dcz::Grid::int16}) {
    for (const std::size_t centroids : {1, 16, 17, 32, 33, 256}) {
      for (const auto& [rows, columns] : {std::pair<std::size_t, std::size_t>{1, 1}, {16, 63}, {40, 700}, {33, 64}}) {
        for (const unsigned percent : {0, 5, 30, 100}) {
          const Case of(rows, columns, percent, centroids, grid);
          report_all(of, vectors++ % 9 + 1);
          report_tile(of);
        }
      }
    }
    report_all(Case(300, 2500, 25, 16, grid), 9);
  }
  report_largest();
}
