// The header and the sections of packed weights, and the matrix that they pack.
#include "packed/packed.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "common/bit_walk.hpp"

namespace dcz {
namespace {

constexpr std::array<char, 4> kPackedMagic{'d', 'c', 'p', '1'};

[[noreturn]] void refuse_sections() { throw std::invalid_argument("packed weights whose sections do not fill them"); }

}  // namespace

PackedHeader read_packed_header(std::span<const std::uint8_t> packed) {
  PackedHeader header;
  if (packed.size() < sizeof header) throw std::invalid_argument("packed weights of fewer bytes than their header");
  std::memcpy(&header, packed.data(), sizeof header);
  if (header.magic != kPackedMagic) throw std::invalid_argument("these bytes are no packed weights");
  if (header.form < Form::window || header.form > Form::word) {
    throw std::invalid_argument("packed weights of an unknown form");
  }
  const bool width = header.code_bits == 4 || header.code_bits == 5 || header.code_bits == 8;
  const bool grid = header.grid == Grid::none || header.grid == Grid::int8 || header.grid == Grid::int16;
  constexpr std::uint64_t kMost = std::uint64_t{1} << 40;
  if (!width || !grid || header.centroids > (1u << header.code_bits) || header.rows > kMost || header.columns > kMost ||
      header.length > kMost || header.survivors > kMost) {
    throw std::invalid_argument("packed weights with a header that contradicts itself");
  }
  if (header.bytes != packed.size()) throw std::invalid_argument("packed weights that are cut off or too long");
  return header;
}

void check_aligned(std::span<const std::uint8_t> packed) {
  if (reinterpret_cast<std::uintptr_t>(packed.data()) % alignof(float) != 0) {
    throw std::invalid_argument("packed weights must begin at a multiple of 4 bytes: copy them first");
  }
}

const std::uint8_t* SectionReader::section(std::size_t bytes) {
  const std::size_t at = sections_.next(bytes);
  if (sections_.end() > packed_.size()) refuse_sections();
  return packed_.data() + at;
}

void SectionReader::finish() const {
  if (sections_.end() != packed_.size()) refuse_sections();
}

PageBytes SectionWriter::packed(PackedHeader header) const {
  header.bytes = sections_.end();
  PageBytes packed(sections_.end());
  std::memcpy(packed.data(), &header, sizeof header);
  std::size_t end = sizeof header;
  for (const Part& part : parts_) {
    // parts follow each other: each byte is written once, as large weights are
    std::fill(packed.begin() + end, packed.begin() + part.at, std::uint8_t{0});
    if (!part.bytes.empty()) std::memcpy(packed.data() + part.at, part.bytes.data(), part.bytes.size());
    end = part.at + part.bytes.size();
  }
  std::fill(packed.begin() + end, packed.end(), std::uint8_t{0});
  return packed;
}

PackedHeader header_for(Form form, const Matrix& matrix) {
  PackedHeader header{};
  header.magic = kPackedMagic;
  header.form = form;
  header.code_bits = code_bits_for(matrix.codebook.size());
  header.rows = matrix.rows;
  header.columns = matrix.columns;
  header.survivors = matrix.codes.size();
  header.centroids = static_cast<std::uint32_t>(matrix.codebook.size());
  return header;
}

void Matrix::check() const {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 31;
  if (rows >= kMost || columns >= kMost) throw std::invalid_argument("a matrix has fewer than 2^31 rows and columns");
  if (bitmap.size() != (rows * columns + 7) / 8)
    throw std::invalid_argument("the bitmap does not have a bit an element");
  if (rows * columns % 8 != 0 && bitmap.back() >> (rows * columns % 8) != 0) {
    throw std::invalid_argument("the bitmap has bits behind its last element");
  }
  if (codebook.size() > 256) throw std::invalid_argument("a codebook has at most 256 centroids");
  if (codes.size() != count_bits(bitmap, 0, rows * columns))
    throw std::invalid_argument("there must be one code a survivor");
  // compilers make vectors of this loop, and none of std::max_element
  std::uint8_t largest = 0;
  for (const std::uint8_t code : codes) largest = std::max(largest, code);
  if (!codes.empty() && largest >= codebook.size()) {
    throw std::invalid_argument("a code is outside of the codebook");
  }
}

}  // namespace dcz
