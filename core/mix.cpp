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
#include "neighbours.hpp"
#include "range_coder.hpp"

namespace dcz {
namespace {

constexpr unsigned kMaxCentroids = 256;

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
    if (tensor.centroids > kMaxCentroids || tensor.negative > tensor.centroids) {
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
    // what is almost full has more codes to pay for, and low bits gain least
    mixed_bits_ = kernel == 1 && tensor_.survivors > grid_.size / 2 ? 2 : 8;
    by_place_ = trees(kernel);
    by_mean_ = trees(kLevels);
    by_pull_ = trees(kSignedLevels);
    survival_ = Mixer<5>(kernel, 65536 * 35 / 100);
    matrix_sign_ = Mixer<4>(1, 65536 * 35 / 100);
    kernel_sign_ = Mixer<5>(kernel, 65536 * 30 / 100);
    magnitude_ = Mixer<3>(8, 65536 * 38 / 100);
  }

  // One binary tree for each context and sign. Deep down both ways are alike: there a counter starts with more trust in
  // one half.
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
    bit = survival_.code(coder_, bit, k_, inputs, {255, 255, kCountLimit, kCountLimit, kCountLimit});
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
    // without a branch: half of them would be guessed wrong
    const unsigned flip = unsigned{positive} - 1;
    unsigned magnitude = (code - tensor_.negative) ^ flip;
    magnitude = code_magnitude(magnitude, positive, around);
    if constexpr (Coder::kDecodes) {
      if (magnitude >= side_size_[positive]) throw FormatError("a code is outside of the codebook");
      codes_[at] = static_cast<std::uint8_t>(tensor_.negative + (magnitude ^ flip));
    }
    const int size = std::max(1, static_cast<int>((magnitude + 1) * 127 >> side_bits_[positive]));
    here = static_cast<std::int8_t>((size ^ static_cast<int>(flip)) - static_cast<int>(flip));
    learn_means(here);
  }

  bool code_sign(bool positive, const Around& a) {
    Column& column = columns_[j_];
    const std::size_t signs = 243 * std::min<std::size_t>(k_, 9) + a.signs();
    const std::size_t pulls = kSignedLevels * signed_level(a.pull()) + signed_level(column.pull >> 2);
    const std::array<Counter*, 4> inputs = {&by_strengths_[a.strengths()], &column.positive, &row_positive_,
                                            &by_pulls_[pulls]};
    if (grid_.kernel == 1) return matrix_sign_.code(coder_, positive, 0, inputs, kSlow<4>);
    return kernel_sign_.code(coder_, positive, k_, {inputs[0], inputs[1], inputs[2], inputs[3], &by_signs_[signs]},
                             kSlow<5>);
  }

  // "From the highest bit down."
  unsigned code_magnitude(unsigned magnitude, bool positive, const Around& a) {
    const int sign = 2 * positive - 1;
    const unsigned mean = level((row_size_ + kernel_size_[j_ / grid_.kernel]) >> 5);
    const unsigned pull = signed_level(sign * a.pull());
    const auto tree = [&](std::vector<Counter>& trees, std::size_t context) {
      return trees.data() + ((2 * context + positive) << code_bits_);
    };
    Counter* const place = tree(by_place_, k_);
    Counter* const by_mean = tree(by_mean_, mean);
    Counter* const by_pull = tree(by_pull_, pull);
    const unsigned bits = side_bits_[positive];
    unsigned node = 1, depth = 0;
    for (; depth < std::min(bits, mixed_bits_); ++depth) {
      const bool bit = magnitude >> (bits - 1 - depth) & 1;
      node = 2 * node + magnitude_.code(coder_, bit, depth, {place + node, by_mean + node, by_pull + node}, kSlow<3>);
    }
    for (; depth < bits; ++depth) {
      const bool bit = coder_.code(magnitude >> (bits - 1 - depth) & 1, place[node].p16());
      place[node].learn(bit, kCountLimit);
      node = 2 * node + bit;
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
  unsigned code_bits_ = 0, mixed_bits_ = 0;
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
  std::vector<Counter> by_place_, by_mean_, by_pull_;
  Mixer<5> survival_{0, 0}, kernel_sign_{0, 0};
  Mixer<4> matrix_sign_{0, 0};
  Mixer<3> magnitude_{0, 0};
};

}  // namespace

std::vector<std::uint8_t> mix_encode(const MixedTensor& tensor, std::span<const std::uint8_t> bitmap,
                                     std::span<const std::uint8_t> codes) {
  RangeEncoder encoder;
  Model model(encoder, tensor, bitmap, codes);
  for (const auto code : codes) {
    if (code >= tensor.centroids) throw std::invalid_argument("a code is outside of the codebook");
  }
  model.run();
  return encoder.finish();
}

void mix_decode(std::span<const std::uint8_t> data, const MixedTensor& tensor, std::span<std::uint8_t> bitmap,
                std::span<std::uint8_t> codes) {
  RangeDecoder decoder(data);
  Model(decoder, tensor, bitmap, codes).run();
  if (!decoder.exact()) throw FormatError("the positions and codes end elsewhere than their bytes");
}

}  // namespace dcz
