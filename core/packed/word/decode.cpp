// The form `word`: dense rows by their numbers.
#include <algorithm>
#include <vector>

#include "common/pool.hpp"
#include "packed/word/walk.hpp"

namespace dcz {

void decode_word(std::span<const std::uint8_t> packed, const RowNumbers& rows, float* out, unsigned threads) {
  const WordView view = word_view(packed);
  const std::size_t columns = view.header.columns;
  std::vector<std::uint32_t> stored_as(view.header.rows, kNoStoredRow);
  for (std::size_t stored = 0; stored < view.header.rows; ++stored) {
    const std::uint32_t row = view.row(stored);
    if (row < view.header.rows) stored_as[row] = static_cast<std::uint32_t>(stored);
  }
  share_parts(threads, [&](unsigned part) {
    for (std::size_t i = rows.count * part / threads; i < rows.count * (part + 1) / threads; ++i) {
      float* const to = out + i * columns;
      std::fill_n(to, columns, 0.0f);
      const std::uint32_t stored = stored_as[rows.at(i)];
      if (stored == kNoStoredRow) continue;
      each_survivor(view, stored, [&](std::size_t column, std::uint32_t code) { to[column] = view.codebook[code]; });
    }
  });
}

}  // namespace dcz
