// Multiplies packed weights between two marks, for the plugin count.c. Reads a product a line:
//
//   FILE INSTRUCTION-SET ACTIVATIONS VECTORS
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "common/cpu.hpp"
#include "packed/dispatch/forms.hpp"

namespace {

// System calls that no system has. They mark begin and end.
constexpr long kBegin = 1000, kEnd = 1001;

std::vector<std::uint8_t> read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Between -1 and 1 without outliers: with a codebook on a grid the products are in integers.
std::vector<float> vectors_of(std::size_t count) {
  std::vector<float> x(count);
  for (std::size_t i = 0; i < count; ++i) x[i] = static_cast<float>(i * 37 % 201) / 100 - 1;
  return x;
}

}  // namespace

int main() {
  std::string path, set, activations;
  std::size_t vectors;
  while (std::cin >> path >> set >> activations >> vectors) {
    const std::vector<std::uint8_t> packed = read(path);
    const dcz::PackedHeader header = dcz::header_of(packed);
    const std::vector<float> x = vectors_of(vectors * header.columns);
    std::vector<float> y(vectors * header.rows);
    const auto kind = activations == "int8" ? dcz::Activations::int8 : dcz::Activations::float32;
    dcz::force_instruction_set(set);
    syscall(kBegin);
    dcz::multiply(packed, x.data(), vectors, nullptr, y.data(), kind, 1);
    syscall(kEnd);
  }
}
