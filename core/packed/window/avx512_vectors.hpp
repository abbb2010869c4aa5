// How vectors lie in memory for the integer kernels of avx512_integers.cpp.
#pragma once

#include "packed/window/avx512.hpp"

namespace dcz::avx512 {

constexpr std::size_t planes_of(Arithmetic arithmetic) { return arithmetic == Arithmetic::x8 ? 1 : 3; }
constexpr std::size_t digits_of(Arithmetic arithmetic) { return arithmetic == Arithmetic::x24w16 ? 2 : 1; }

// The vectors of the next pass, and the width of its kernel, which may be a little more.
struct PassWidth {
  std::size_t vectors, width;
};

PassWidth pass_width(Arithmetic arithmetic, std::size_t left);

// The bytes of x in planes: [pass][block][vector][plane]. A pass wider than its vectors is the last one.
std::size_t plane_bytes(const WindowTask& task);

// Behind the planes: the results of a pass side by side, if it has several vectors.
float* results_of(const WindowTask& task, std::size_t vector);

}  // namespace dcz::avx512
