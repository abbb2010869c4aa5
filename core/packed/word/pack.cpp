// The form `word`: packing. The lengths of all skips choose the pair, the words of all rows the parts.
#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#include "common/bit_walk.hpp"
#include "packed/word/word.hpp"

namespace dcz {
namespace {

// A thread of fewer words would take more bytes and time for its begin and end than for its survivors. With fewer
// threads a GPU would wait for memory.
constexpr std::size_t kPartWords = 8, kThreads = 100'000;

// The most words, and the most bytes of parts, against pairs that words of any width could hold.
constexpr double kMostWords = 1.2, kMostBytes = 1.25;

// Calls use(skip) for the survivors of a row, with the zeros in front of each.
template <typename Use>
void each_skip(const Matrix& matrix, std::uint64_t row, const Use& use) {
  const std::uint64_t begin = row * matrix.columns;
  std::uint64_t next = begin;
  each_bit(matrix.bitmap, begin, begin + matrix.columns, [&](std::uint64_t at) {
    use(at - next);
    next = at + 1;
  });
}

class Skips {
 public:
  explicit Skips(const Matrix& matrix) : survivors_(matrix.codes.size()) {
    for (std::uint64_t row = 0; row < matrix.rows; ++row) {
      each_skip(matrix, row, [&](std::uint64_t skip) {
        if (skip < kCounted) {
          ++counts_[skip];
        } else {
          longer_.push_back(skip);
        }
      });
    }
  }

  // Survivors and fillers.
  std::uint64_t pairs(unsigned skip_bits) const {
    const std::uint64_t most = (1u << skip_bits) - 1;
    std::uint64_t pairs = survivors_;
    for (std::uint64_t skip = most; skip < kCounted; ++skip) pairs += skip / most * counts_[skip];
    for (const std::uint64_t skip : longer_) pairs += skip / most;
    return pairs;
  }

 private:
  static constexpr std::uint64_t kCounted = 4096;

  std::uint64_t survivors_;
  std::array<std::uint64_t, kCounted> counts_{};
  std::vector<std::uint64_t> longer_;
};

struct Width {
  unsigned skip_bits;
  double best_bits;  // of all pairs with the best width, if words could hold it and fillers took a code
};

// The fewest pairs and words: a pair costs a GPU about as much as to read a word. But the bytes are bounded.
Width width_for(const Matrix& matrix, unsigned code_bits) {
  const Skips skips(matrix);
  Width found{1, std::numeric_limits<double>::infinity()};
  std::array<double, kMostSkipBits + 1> pairs{};
  for (unsigned bits = 1; bits <= kMostSkipBits; ++bits) {
    pairs[bits] = static_cast<double>(skips.pairs(bits));
    found.best_bits = std::min(found.best_bits, pairs[bits] * (bits + code_bits + 1));
  }
  double least = std::numeric_limits<double>::infinity();
  for (unsigned bits = 1; bits <= kMostSkipBits && code_bits + bits <= kWordBits / 2; ++bits) {
    const double words = pairs[bits] / (kWordBits / (code_bits + bits));
    const bool too_many = words * kWordBits > kMostWords * found.best_bits;
    // far above every cost of pairs and words: then the fewest words count
    const double cost = too_many ? words * 1e6 : pairs[bits] + words;
    if (cost <= least) found.skip_bits = bits, least = cost;
  }
  return found;
}

struct Rows {
  std::vector<std::uint64_t> before;  // survivors before each row, and all of them
  std::vector<std::uint32_t> words;   // of each row
  std::vector<std::uint32_t> order;   // the rows, those of the most words first
};

Rows rows_of(const Matrix& matrix, const WordShape& shape) {
  const std::uint64_t most = (1u << shape.skip_bits) - 1;
  Rows rows{{0}, {}, std::vector<std::uint32_t>(matrix.rows)};
  for (std::uint64_t row = 0; row < matrix.rows; ++row) {
    std::uint64_t survivors = 0, fillers = 0;
    each_skip(matrix, row, [&](std::uint64_t skip) {
      ++survivors;
      if (skip >= most) fillers += skip / most;
    });
    rows.before.push_back(rows.before.back() + survivors);
    rows.words.push_back(static_cast<std::uint32_t>((survivors + fillers + shape.word_pairs - 1) / shape.word_pairs));
  }
  std::iota(rows.order.begin(), rows.order.end(), 0);
  std::stable_sort(rows.order.begin(), rows.order.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return rows.words[a] > rows.words[b]; });
  return rows;
}

// The turns before each block, and all. The first row of a block has the most words.
std::vector<std::uint32_t> starts_of(const Rows& rows, std::size_t parts) {
  const std::size_t block_rows = kBlockParts / parts;
  std::vector<std::uint32_t> starts{0};
  for (std::size_t row = 0; row < rows.order.size(); row += block_rows) {
    const std::size_t words = rows.words[rows.order[row]];
    starts.push_back(starts.back() + static_cast<std::uint32_t>((words + parts - 1) / parts));
  }
  return starts;
}

double bytes_of(const Rows& rows, const WordShape& shape, std::size_t parts) {
  const std::vector<std::uint32_t> starts = starts_of(rows, parts);
  const double lanes = static_cast<double>(kBlockParts * (starts.size() - 1));
  const double order = (shape.many ? 4 : 2) * static_cast<double>(rows.order.size());
  return 4.0 * static_cast<double>(kBlockParts * starts.back()) + order + (shape.wide ? 4 : 2) * lanes;
}

// The parts of a row, log2: many, but the bytes are bounded.
unsigned part_bits_for(const Rows& rows, const WordShape& shape, double best_bits) {
  const double words = std::accumulate(rows.words.begin(), rows.words.end(), 0.0);
  unsigned found = 0;
  double fewest = bytes_of(rows, shape, 1);
  for (unsigned bits = 1; bits <= kMostPartBits; ++bits) {
    const std::size_t threads = rows.order.size() << bits;
    if (threads >= 2 * kThreads || words < static_cast<double>(kPartWords * threads)) break;
    const double bytes = bytes_of(rows, shape, std::size_t{1} << bits);
    if (8 * bytes <= kMostBytes * best_bits || bytes <= fewest) found = bits;
    fewest = std::min(fewest, bytes);
  }
  return found;
}

// Writes the words of rows, which are fillers before.
class Writer {
 public:
  Writer(const PackedHeader& header, const Matrix& matrix, const Rows& rows, const std::vector<std::uint32_t>& starts)
      : columns(kBlockParts * (starts.size() - 1)),
        words(kBlockParts * starts.back()),
        shape_(header),
        most_((1u << shape_.skip_bits) - 1),
        matrix_(matrix),
        rows_(rows),
        starts_(starts) {
    for (unsigned i = 0; i < shape_.word_pairs; ++i) nothing_ |= most_ << (i * shape_.pair_bits);
    std::fill(words.begin(), words.end(), nothing_);
  }

  void run() {
    for (std::size_t stored = 0; stored < rows_.order.size(); ++stored) add_row(stored);
  }

  std::vector<std::uint32_t> columns, words;

 private:
  void add_row(std::size_t stored) {
    const std::uint32_t row = rows_.order[stored];
    const std::size_t block = stored / shape_.block_rows;
    const std::size_t part_words = (rows_.words[row] + shape_.parts - 1) / shape_.parts;
    std::size_t part = kBlockParts * block + stored % shape_.block_rows * shape_.parts, left = 0;
    std::uint32_t* to = nullptr;
    std::uint32_t word = 0, column = 0;
    unsigned used = 0;
    const unsigned full = shape_.word_pairs * shape_.pair_bits;
    const auto add = [&](std::uint32_t skip, std::uint32_t code) {
      if (used == 0 && left == 0) {
        to = words.data() + kBlockParts * starts_[block] + part % kBlockParts;
        columns[part++] = column;
        left = part_words;
      }
      word |= (code << shape_.skip_bits | skip) << used;
      used += shape_.pair_bits;
      if (used < full) return;
      *to = word;
      to += kBlockParts;
      word = used = 0;
      --left;
    };
    const std::uint8_t* code = matrix_.codes.data() + rows_.before[row];
    each_skip(matrix_, row, [&](std::uint64_t skip) {
      for (; skip >= most_; skip -= most_, column += most_) add(most_, 0);
      add(static_cast<std::uint32_t>(skip), *code++);
      column += static_cast<std::uint32_t>(skip) + 1;
    });
    if (used > 0) *to = word | (nothing_ & ~std::uint32_t{0} << used);
  }

  const WordShape shape_;
  const std::uint32_t most_;
  const Matrix& matrix_;
  const Rows& rows_;
  const std::vector<std::uint32_t>& starts_;
  std::uint32_t nothing_ = 0;  // a word of fillers
};

void check_limits(const Matrix& matrix) {
  if (matrix.codes.size() > kMostWordSurvivors || matrix.columns > kMostWordColumns) {
    throw std::invalid_argument("the form word has at most " + std::to_string(kMostWordSurvivors) + " survivors and " +
                                std::to_string(kMostWordColumns) + " columns; found " +
                                std::to_string(matrix.codes.size()) + " and " + std::to_string(matrix.columns) +
                                ": pack fewer rows at once");
  }
}

}  // namespace

PageBytes pack_word(const Matrix& matrix) {
  check_limits(matrix);
  matrix.check();
  PackedHeader header = header_for(Form::word, matrix);
  const Width width = width_for(matrix, header.code_bits);
  header.layout = static_cast<std::uint8_t>(width.skip_bits);
  Rows rows = rows_of(matrix, WordShape(header));
  const unsigned part_bits = part_bits_for(rows, WordShape(header), width.best_bits);
  header.layout = static_cast<std::uint8_t>(width.skip_bits | part_bits << 4);
  const WordShape shape(header);
  const std::vector<std::uint32_t> starts = starts_of(rows, shape.parts);
  header.units = static_cast<std::uint32_t>(starts.size() - 1);
  header.length = starts.back();
  Writer writer(header, matrix, rows, starts);
  writer.run();
  rows.order.resize(shape.block_rows * header.units, kNoStoredRow);
  const auto narrow = [](const std::vector<std::uint32_t>& numbers) {
    return std::vector<std::uint16_t>(numbers.begin(), numbers.end());
  };
  const std::vector<std::uint16_t> narrow_order = narrow(rows.order), narrow_columns = narrow(writer.columns);
  SectionWriter sections;
  sections.add(matrix.codebook, std::size_t{1} << header.code_bits);
  shape.many ? sections.add(rows.order) : sections.add(narrow_order);
  sections.add(starts);
  shape.wide ? sections.add(writer.columns) : sections.add(narrow_columns);
  sections.add(writer.words);
  return sections.packed(header);
}

}  // namespace dcz
