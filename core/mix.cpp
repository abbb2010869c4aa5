// The model of the coder `mixed`: which weights already coded tell what about the next. docs/format.md, "mixed".
#include "mix.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "error.hpp"
#include "mixer.hpp"
#include "range_coder.hpp"

namespace dcz {
namespace {

constexpr std::uint64_t kMaxRow = 65536, kMaxKernel = 64;
constexpr unsigned kMaxCodes = 256;

// "A tensor is seen as rows, a row as kernels, a kernel as lines." All but convolutions have kernels of one element.
struct Grid {
  std::uint64_t size, row = 1, kernel = 1, line = 1;

  explicit Grid(std::span<const std::uint64_t> shape) : size(elements_of(shape)) {
    if (size == 0) return;
    row = shape.size() < 2 ? size : size / shape[0];
    if (shape.size() < 2 || row > kMaxRow) {
      row = std::min(size, kMaxRow);
      return;
    }
    std::uint64_t elements = 1, last = 1;
    for (const auto axis : shape.subspan(2)) {
      elements *= axis;
      if (axis > 1) last = axis;
    }
    if (elements <= kMaxKernel) {
      kernel = elements;
      line = last;
    }
  }
};

constexpr int kLevels = 14, kSignedLevels = 2 * kLevels - 1;

// Of a size below 640: two levels for each factor of two.
constexpr auto kLevelOf = [] {
  constexpr std::array<int, kLevels> first = {0, 1, 3, 5, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192};
  std::array<std::uint8_t, 640> table{};
  for (const int start : first) {
    for (auto i = static_cast<std::size_t>(start); start > 0 && i < table.size(); ++i) ++table[i];
  }
  return table;
}();

unsigned level(int size) { return kLevelOf[static_cast<std::size_t>(size)]; }

unsigned signed_level(int size) { return size < 0 ? kLevels - 1 - level(-size) : kLevels - 1 + level(size); }

unsigned three(int size) { return static_cast<unsigned>((size > 0) - (size < 0) + 1); }

unsigned five(int size) { return size < -24 ? 0 : size < 0 ? 1 : size == 0 ? 2 : size <= 24 ? 3 : 4; }

// The signed sizes of weights next to one; 0 for what was pruned, is not yet coded or lies outside.
struct Around {
  int west = 0, west2 = 0, north = 0, north2 = 0, northwest = 0;

  int pull() const { return west + north - (northwest >> 1); }
  unsigned signs() const {
    return three(west) + 3 * three(north) + 9 * three(west2) + 27 * three(north2) + 81 * three(northwest);
  }
  unsigned strengths() const { return five(west) + 5 * five(north) + 25 * five(west2) + 125 * three(northwest); }
};

// What is learned of the same place in all rows.
struct Column {
  Counter survives, positive;
  int pull;  // mean of the survivors' signed sizes, in 16ths
};

template <class Coder>
class Model {
  using Bytes = std::span<std::conditional_t<Coder::kDecodes, std::uint8_t, const std::uint8_t>>;

 public:
  Model(Coder& coder, const MixedTensor& tensor, Bytes bitmap, Bytes codes)
      : coder_(coder), grid_(tensor.shape), tensor_(tensor), bitmap_(bitmap), codes_(codes) {
    if (tensor.centroids > kMaxCodes || tensor.negative > tensor.centroids) {
      throw std::invalid_argument("a codebook has at most 256 centroids, and not more of them are negative");
    }
    if (tensor.survivors > grid_.size || bitmap.size() != grid_.size / 8 + (grid_.size % 8 != 0) ||
        codes.size() != (tensor.centroids > 0 ? tensor.survivors : 0)) {
      throw std::invalid_argument("shape, survivors, bitmap and codes do not fit together");
    }
    side_size_ = {tensor.negative, tensor.centroids - tensor.negative};
    for (const std::size_t side : {0, 1}) side_bits_[side] = bits_of(side_size_[side]);
    code_bits_ = std::max(side_bits_[0], side_bits_[1]);
    start();
  }

  void run() {
    for (std::uint64_t begin = 0; begin < grid_.size; begin += grid_.row) {
      code_row(begin, std::min(grid_.row, grid_.size - begin));
    }
    if (survivors_ != tensor_.survivors) wrong_survivors();
  }

 private:
  static unsigned bits_of(unsigned size) { return size == 0 ? 0 : static_cast<unsigned>(std::bit_width(size - 1)); }

  void start() {
    if (grid_.size == 0) return;
    const std::uint64_t density = tensor_.survivors * 65536 / grid_.size;
    density_ = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(density, 16, 65520));
    const auto row = static_cast<std::size_t>(grid_.row), kernel = static_cast<std::size_t>(grid_.kernel);
    here_.resize(row + 2);
    above_.resize(row + 2);
    columns_.assign(row, {Counter(density_, 3), Counter(), 0});
    kernel_size_.assign(row / kernel, 24 * 16);
    const Counter survives(density_, 1);
    by_history_.assign(512, survives);
    by_count_.assign(kernel > 1 ? 64 * kernel : 33 * 32, survives);
    by_sizes_.assign(kLevels * kLevels, survives);
    by_signs_.resize(243 * std::min<std::size_t>(kernel, 10));
    by_strengths_.resize(375);
    by_pulls_.resize(kSignedLevels * kSignedLevels);
    by_place_ = trees(kernel);
    by_mean_ = trees(kLevels);
    by_pull_ = trees(kSignedLevels);
    by_column_ = trees(kSignedLevels);
    survival_ = Mixer<5>(kernel, 65536 * 35 / 100);
    sign_ = Mixer<5>(kernel, 65536 * 30 / 100);
    magnitude_ = Mixer<4>(8, 65536 * 30 / 100);
  }

  // One binary tree for each context and sign; "the deeper, the surer that both ways are alike".
  std::vector<Counter> trees(std::size_t contexts) const {
    std::vector<Counter> nodes(contexts << (code_bits_ + 1));
    const std::size_t mask = (std::size_t{1} << code_bits_) - 1;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const auto depth = static_cast<std::uint32_t>(std::bit_width(i & mask));
      nodes[i] = Counter(32768, depth > 0 ? 2 * depth - 1 : 0);
    }
    return nodes;
  }

  void code_row(std::uint64_t begin, std::uint64_t length) {
    std::swap(here_, above_);
    std::fill(here_.begin(), here_.end(), std::int8_t{0});
    row_survives_ = Counter(density_, 6);
    row_positive_ = Counter(32768, 2);
    row_size_ = all_size_;
    history_ = recent_ = 0;
    for (j_ = 0, k_ = 0, x_ = 0; j_ < length; ++j_, ++k_, ++x_) {
      if (x_ == grid_.line) x_ = 0;
      if (k_ == grid_.kernel) k_ = 0;
      const Around around = look();
      if (code_survival(begin + j_, around)) code_weight(around);
    }
  }

  Around look() const {
    // two zeros lie before each row
    const std::int8_t* here = here_.data() + j_ + 2;
    const std::int8_t* above = above_.data() + j_ + 2;
    const auto line = static_cast<std::ptrdiff_t>(grid_.line);
    if (grid_.kernel == 1) return {here[-1], here[-2], above[0], 0, above[-1]};
    Around around;
    if (x_ > 0) around.west = here[-1];
    if (x_ > 1) around.west2 = here[-2];
    if (grid_.line == grid_.kernel) {
      around.north = above[0];
      around.northwest = above[-1];
      return around;
    }
    if (k_ >= grid_.line) around.north = here[-line];
    if (k_ >= 2 * grid_.line) around.north2 = here[-2 * line];
    if (k_ >= grid_.line && x_ > 0) around.northwest = here[-line - 1];
    return around;
  }

  bool code_survival(std::uint64_t i, const Around& a) {
    const bool matrix = grid_.kernel == 1;
    if (k_ == 0 && !matrix) recent_ = 0;
    const unsigned seen = matrix ? 8 : static_cast<unsigned>(std::min<std::size_t>(k_, 8));
    const std::size_t history = 1u << seen | (history_ & ((1u << seen) - 1));
    const std::size_t count = matrix ? 32 * recent_ + row_survives_.p32nd() : 64 * k_ + recent_;
    const unsigned sizes = kLevels * level(std::abs(a.west) + std::abs(a.west2) / 2) +
                           level(std::abs(a.north) + std::abs(a.northwest) / 2);
    const std::array<Counter*, 5> inputs = {&row_survives_, &columns_[j_].survives, &by_history_[history],
                                            &by_count_[count], &by_sizes_[sizes]};
    bool bit = false;
    if constexpr (!Coder::kDecodes) bit = bitmap_[i / 8] >> (i % 8) & 1;
    bit = survival_.code(coder_, bit, k_, inputs, {255, 255, 1023, 1023, 1023});
    if constexpr (Coder::kDecodes) {
      if (i % 8 == 0) bitmap_[i / 8] = 0;
      bitmap_[i / 8] = static_cast<std::uint8_t>(bitmap_[i / 8] | bit << (i % 8));
    }
    recent_ += bit;
    if (matrix) recent_ -= history_ >> 31;
    history_ = history_ << 1 | bit;
    return bit;
  }

  void code_weight(const Around& around) {
    if (survivors_ == tensor_.survivors) wrong_survivors();
    const std::size_t at = survivors_++;
    std::int8_t& here = here_[j_ + 2];
    here = 64;
    if (tensor_.centroids == 0) return;
    unsigned code = 0;
    if constexpr (!Coder::kDecodes) code = codes_[at];
    bool positive = code >= tensor_.negative;
    if (side_size_[0] > 0 && side_size_[1] > 0) {
      positive = code_sign(positive, around);
    } else {
      positive = side_size_[1] > 0;
    }
    unsigned magnitude = positive ? code - tensor_.negative : tensor_.negative - 1 - code;
    magnitude = code_magnitude(magnitude, positive, around);
    if constexpr (Coder::kDecodes) {
      if (magnitude >= side_size_[positive]) throw FormatError("a code is outside of the codebook");
      codes_[at] =
          static_cast<std::uint8_t>(positive ? tensor_.negative + magnitude : tensor_.negative - 1 - magnitude);
    }
    const int size = std::max(1, static_cast<int>((magnitude + 1) * 127 >> side_bits_[positive]));
    here = static_cast<std::int8_t>(positive ? size : -size);
    learn_means(here);
  }

  bool code_sign(bool positive, const Around& a) {
    Column& column = columns_[j_];
    const std::size_t signs = 243 * std::min<std::size_t>(k_, 9) + a.signs();
    const std::size_t pulls = kSignedLevels * signed_level(a.pull()) + signed_level(column.pull >> 2);
    const std::array<Counter*, 5> inputs = {&by_signs_[signs], &by_strengths_[a.strengths()], &column.positive,
                                            &row_positive_, &by_pulls_[pulls]};
    return sign_.code(coder_, positive, k_, inputs, {1023, 1023, 1023, 1023, 1023});
  }

  // "From the highest bit down."
  unsigned code_magnitude(unsigned magnitude, bool positive, const Around& a) {
    const int sign = positive ? 1 : -1;
    const unsigned mean = level((row_size_ + kernel_size_[j_ / grid_.kernel]) >> 5);
    const unsigned pull = signed_level(sign * a.pull());
    const unsigned column = signed_level(sign * columns_[j_].pull >> 2);
    const auto tree = [&](std::vector<Counter>& trees, std::size_t context) {
      return trees.data() + ((2 * context + positive) << code_bits_);
    };
    Counter* const place = tree(by_place_, k_);
    Counter* const by_mean = tree(by_mean_, mean);
    Counter* const by_pull = tree(by_pull_, pull);
    Counter* const by_column = tree(by_column_, column);
    const unsigned bits = side_bits_[positive];
    unsigned node = 1;
    for (unsigned depth = 0; depth < bits; ++depth) {
      const bool bit = magnitude >> (bits - 1 - depth) & 1;
      node = 2 * node + magnitude_.code(coder_, bit, depth,
                                        {place + node, by_mean + node, by_pull + node, by_column + node},
                                        {1023, 1023, 1023, 1023});
    }
    return node - (1u << bits);
  }

  void learn_means(int signed_size) {
    const int size = 16 * std::abs(signed_size);
    int& kernel_size = kernel_size_[j_ / grid_.kernel];
    int& pull = columns_[j_].pull;
    row_size_ += (size - row_size_) >> 5;
    all_size_ += (size - all_size_) >> 7;
    kernel_size += (size - kernel_size) >> 4;
    pull += (16 * signed_size - pull) >> 3;
  }

  [[noreturn]] void wrong_survivors() const {
    const std::string message = std::to_string(tensor_.survivors) + " survivors are stated, the positions hold others";
    if constexpr (Coder::kDecodes) throw FormatError(message);
    throw std::invalid_argument(message);
  }

  Coder& coder_;
  const Grid grid_;
  const MixedTensor tensor_;
  const Bytes bitmap_, codes_;
  std::array<unsigned, 2> side_size_{}, side_bits_{};  // of the negative and of the other centroids
  unsigned code_bits_ = 0;
  std::uint32_t density_ = 0;

  // Where the coder stands: in the row, in the kernel, in the kernel's line.
  std::size_t j_ = 0, k_ = 0, x_ = 0, survivors_ = 0;
  std::uint32_t history_ = 0, recent_ = 0;  // which of the last 32 survived; how many of these, or of the kernel
  std::vector<std::int8_t> here_, above_;

  Counter row_survives_, row_positive_;
  int row_size_ = 0, all_size_ = 24 * 16;  // means of sizes, in 16ths
  std::vector<int> kernel_size_;
  std::vector<Column> columns_;
  std::vector<Counter> by_history_, by_count_, by_sizes_, by_signs_, by_strengths_, by_pulls_;
  std::vector<Counter> by_place_, by_mean_, by_pull_, by_column_;
  Mixer<5> survival_{0, 0}, sign_{0, 0};
  Mixer<4> magnitude_{0, 0};
};

}  // namespace

std::uint64_t elements_of(std::span<const std::uint64_t> shape) {
  std::uint64_t size = 1;
  for (const auto axis : shape) {
    if (axis > 0 && size > ~std::uint64_t{0} / axis) throw std::invalid_argument("a shape of more than 2^64 elements");
    size *= axis;
  }
  return size;
}

std::vector<std::uint8_t> mix_encode(const MixedTensor& tensor, std::span<const std::uint8_t> bitmap,
                                     std::span<const std::uint8_t> codes) {
  for (const auto code : codes) {
    if (code >= tensor.centroids) throw std::invalid_argument("a code is outside of the codebook");
  }
  RangeEncoder encoder;
  Model(encoder, tensor, bitmap, codes).run();
  return encoder.finish();
}

void mix_decode(std::span<const std::uint8_t> data, const MixedTensor& tensor, std::span<std::uint8_t> bitmap,
                std::span<std::uint8_t> codes) {
  RangeDecoder decoder(data);
  Model(decoder, tensor, bitmap, codes).run();
  if (!decoder.exact()) throw FormatError("the positions and codes end elsewhere than their bytes");
}

}  // namespace dcz
