// The sections of the forms `window` and `wide`: written one after the other, and found again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "packed/window/rows.hpp"
#include "packed/window/window.hpp"

namespace dcz {

// What a form, or a variant of one, has of each.
struct WindowShape {
  std::size_t group_rows;
  std::size_t planes;       // of digits
  std::size_t starts;       // of a pair
  std::size_t fifth_words;  // of a pair
};

// The bytes of a pair in the stream.
constexpr std::size_t pair_bytes(std::uint8_t code_bits) { return code_bits == 8 ? 256 : 192; }

// What packing gives, group by group.
struct PackedGroups {
  std::vector<std::uint32_t> ends;
  std::vector<std::uint16_t> starts;
  std::vector<std::uint64_t> fifths;  // left out where the shape has none
  std::vector<std::uint8_t> stream;

  // A pair with nothing in it; where it begins in the stream.
  std::size_t add_pair(std::uint8_t code_bits);
};

// What all forms for few vectors can hold: a sound matrix of at most so many columns, with a digit a centroid. Throws
// std::invalid_argument.
void check_matrix(const Matrix& matrix, const Digits& digits, const char* form);

// A header of what matrix and digits tell; the rest are zeros.
PackedHeader window_header(Form form, const Matrix& matrix, const Digits& digits);

// Header and sections, with all numbers of the header that follow from them filled in.
std::vector<std::uint8_t> put_sections(PackedHeader header, const WindowShape& shape, const Matrix& matrix,
                                       const RowOrder& rows, const DigitPlanes& planes, const PackedGroups& groups);

// Whether columns and groups go with the rows and columns of the header.
bool groups_fit(const PackedHeader& header, const WindowShape& shape);

// All parts but `blocks`. Throws std::invalid_argument unless the sections fill the bytes.
WindowView find_sections(std::span<const std::uint8_t> packed, const PackedHeader& header, const WindowShape& shape);

// Holds every end, row and start against its bounds; std::invalid_argument.
void check_sections(const WindowView& view, std::size_t starts, std::size_t last_start);

}  // namespace dcz
