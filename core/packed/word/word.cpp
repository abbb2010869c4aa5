// The form `word`: finding its sections, and checking them.
#include "packed/word/word.hpp"

#include <stdexcept>
#include <string>

#include "packed/word/walk.hpp"

namespace dcz {
namespace {

bool holds(const PackedHeader& header, const WordShape& shape) {
  return shape.skip_bits >= 1 && shape.skip_bits <= kMostSkipBits && header.layout >> 4 <= kMostPartBits &&
         header.rows >> 31 == 0 && header.columns <= kMostWordColumns && header.survivors <= kMostWordSurvivors &&
         header.units == (header.rows + shape.block_rows - 1) / shape.block_rows;
}

[[noreturn]] void refuse(const char* what) { throw std::invalid_argument(std::string("packed weights ") + what); }

// Checks a stored row. Returns its survivors.
std::uint64_t check_row(const WordView& view, std::size_t stored, bool exists) {
  std::uint64_t survivors = 0, reached = 0;
  const std::size_t block = stored / view.block_rows, first = stored % view.block_rows * view.parts;
  for (std::size_t lane = first; lane < first + view.parts; ++lane) {
    if (view.column(kBlockParts * block + lane) > view.header.columns) refuse("with a part behind the last column");
    each_pair(view, block, lane, [&](std::uint64_t at, std::uint32_t code, bool survivor) {
      if (!survivor) {
        if (code != 0) refuse("with a filler that has a code");
        return;
      }
      if (!exists) refuse("with survivors in a row that the matrix lacks");
      if (at >= view.header.columns) refuse("with a survivor behind the last column");
      if (at < reached) refuse("with parts of a row that overlap");
      if (code >= view.header.centroids) refuse("with a code outside of the codebook");
      reached = at + 1;
      ++survivors;
    });
  }
  return survivors;
}

}  // namespace

WordShape::WordShape(const PackedHeader& header) {
  skip_bits = header.layout & 15u;
  pair_bits = skip_bits + header.code_bits;
  word_pairs = kWordBits / pair_bits;
  parts = std::size_t{1} << (header.layout >> 4 < kMostPartBits ? header.layout >> 4 : kMostPartBits);
  block_rows = kBlockParts / parts;
  wide = header.columns > kMostNarrow;
  many = header.rows > kMostNarrow;
}

WordView word_view(std::span<const std::uint8_t> packed) {
  const PackedHeader header = read_packed_header(packed);
  WordView view(header);
  if (header.form != Form::word || !holds(header, view)) refuse("of the form word that contradict themselves");
  SectionReader sections(packed);
  view.codebook = sections.next<float>(std::size_t{1} << header.code_bits);
  view.order = sections.next<std::uint8_t>((view.many ? 4 : 2) * view.block_rows * view.blocks());
  view.starts = sections.next<std::uint32_t>(view.blocks() + 1);
  view.columns = sections.next<std::uint8_t>((view.wide ? 4 : 2) * kBlockParts * view.blocks());
  view.words = sections.next<std::uint32_t>(kBlockParts * header.length);
  sections.finish();
  return view;
}

void check_word(const WordView& view) {
  const PackedHeader& header = view.header;
  for (std::size_t block = 0; block < view.blocks(); ++block) {
    if (view.starts[block] > view.starts[block + 1]) refuse("with a block that ends before it begins");
  }
  if (view.starts[0] != 0 || view.starts[view.blocks()] != header.length) refuse("whose blocks do not fill the words");
  const unsigned used = view.word_pairs * view.pair_bits;
  for (std::size_t i = 0; used < kWordBits && i < kBlockParts * header.length; ++i) {
    if (view.words[i] >> used != 0) refuse("with bits behind the pairs of a word");
  }
  std::vector<bool> seen(header.rows);
  std::uint64_t survivors = 0;
  for (std::size_t stored = 0; stored < view.block_rows * view.blocks(); ++stored) {
    const std::uint32_t row = view.row(stored);
    const bool exists = stored < header.rows;
    if (exists ? row >= header.rows || seen[row] : row != kNoStoredRow) {
      refuse("whose stored rows are not the rows, each once");
    }
    if (exists) seen[row] = true;
    survivors += check_row(view, stored, exists);
  }
  if (survivors != header.survivors) refuse("with another number of survivors than they say");
}

}  // namespace dcz
