// The model of the coder `small`: which weights already coded tell what about the next. docs/format.md, "Mixed".
#include "adaptive/model.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "adaptive/codebook.hpp"
#include "adaptive/magnitudes.hpp"
#include "adaptive/mixer.hpp"
#include "adaptive/neighbours.hpp"
#include "adaptive/range_coder.hpp"
#include "common/error.hpp"

namespace dcz {
namespace {

constexpr unsigned kMaxCentroids = 256;

// "At depths 0 to 4": what is around tells nothing of lower bits.
constexpr unsigned kMixedBits = 5;

constexpr std::int32_t percent(int weight) { return 65536 * weight / 100; }

// What is learned of the same place in all rows.
struct Column {
  Counter survives, positive;
  int pull = 0;             // mean of the survivors' signed sizes, in 16ths
  std::uint32_t signs = 0;  // the last survivors', a bit each
};

template <class Coder>
class Model {
  using Bytes = std::span<std::conditional_t<Coder::kDecodes, std::uint8_t, const std::uint8_t>>;

 public:
  Model(Coder& coder, const AdaptiveTensor& tensor, unsigned negative, Bytes bitmap, Bytes codes)
      : coder_(coder), grid_(tensor.shape), tensor_(tensor), negative_(negative), bitmap_(bitmap), codes_(codes) {
    if (tensor.survivors > grid_.size || bitmap.size() != grid_.size / 8 + (grid_.size % 8 != 0) ||
        codes.size() != (tensor.centroids > 0 ? tensor.survivors : 0)) {
      throw std::invalid_argument("shape, survivors, bitmap and codes do not fit together");
    }
    side_size_ = {negative, tensor.centroids - negative};
    for (const std::size_t side : {0, 1}) side_bits_[side] = magnitude_bits(side_size_[side]);
    start();
  }

  void run() {
    for (std::uint64_t begin = 0; begin < grid_.size; begin += grid_.row) {
      code_row(begin, std::min(grid_.row, grid_.size - begin));
    }
    if (survivors_ != tensor_.survivors) wrong_survivors();
  }

 private:
  void start() {
    if (grid_.size == 0) return;
    const std::uint64_t density = tensor_.survivors * 65536 / grid_.size;
    density_ = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(density, 16, 65520));
    const auto row = static_cast<std::size_t>(grid_.row), kernel = static_cast<std::size_t>(grid_.kernel);
    here_.resize(row + 2);
    above_.resize(row + 2);
    columns_.assign(row, {Counter(density_, 3), Counter()});
    kernel_size_.assign(row / kernel, 24 * 16);
    const Counter survives(density_, 1);
    by_history_.assign(512, survives);
    by_count_.assign(kernel > 1 ? 64 * kernel : 33 * 32, survives);
    by_sizes_.assign(kLevels * kLevels, survives);
    by_signs_.resize(243 * std::min<std::size_t>(kernel, 10));
    by_strengths_.resize(375);
    by_pulls_.resize(kSignedLevels * kSignedLevels);
    by_column_.resize(64);
    by_slopes_.resize(kernel > 1 ? kSignedLevels * kSignedLevels : 0);
    // what is almost full has more codes to pay for, and low bits gain least
    mixed_bits_ = tensor_.survivors > grid_.size / 2 ? 2 : kMixedBits;
    full_ = tensor_.survivors > grid_.size - grid_.size / 16;
    by_place_ = magnitude_trees(kernel, kMixedBits, side_size_);
    by_mean_ = magnitude_trees(kLevels, kMixedBits, side_size_);
    by_pull_ = magnitude_trees(kSignedLevels, kMixedBits, side_size_);
    deep_ = magnitude_trees(1, kMaxBits, side_size_);
    survival_ = Mixer<5>(std::max<std::size_t>(kernel, 4), percent(26), -20);
    matrix_sign_ = Mixer<5>(1, percent(35), 8);
    kernel_sign_ = Mixer<6>(kernel, percent(28), 8);
    magnitude_ = Mixer<3>(kMixedBits, percent(33), 8);
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
    const std::int8_t* const here = here_.data() + j_ + 2;
    const std::int8_t* const above = above_.data() + j_ + 2;
    if (grid_.kernel == 1) return {here[-1], here[-2], above[0], 0, above[-1]};
    return around_in_kernel(grid_, here, above, k_, x_);
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
    const std::size_t set = matrix ? unsigned{a.west != 0} + 2 * unsigned{a.north != 0} : k_;
    if (full_) {
      bit = code_alone(coder_, bit, by_history_[history], kCountLimit);
    } else {
      bit = survival_.code(coder_, bit, set, inputs, {255, 127, kCountLimit, kCountLimit, kCountLimit});
    }
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
    bool positive = code >= negative_;
    if (side_size_[0] > 0 && side_size_[1] > 0) {
      positive = code_sign(positive, around);
    } else {
      positive = side_size_[1] > 0;
    }
    // without a branch: half of them would be guessed wrong
    const unsigned flip = unsigned{positive} - 1;
    unsigned magnitude = (code - negative_) ^ flip;
    magnitude = code_magnitude(magnitude, positive, around);
    if constexpr (Coder::kDecodes) {
      if (magnitude >= side_size_[positive]) throw FormatError("a code is outside of the codebook");
      codes_[at] = static_cast<std::uint8_t>(negative_ + (magnitude ^ flip));
    }
    const int size = std::max(1, static_cast<int>((magnitude + 1) * 127 >> side_bits_[positive]));
    here = static_cast<std::int8_t>((size ^ static_cast<int>(flip)) - static_cast<int>(flip));
    learn_means(here);
  }

  bool code_sign(bool positive, const Around& a) {
    Column& column = columns_[j_];
    const std::size_t signs = 243 * std::min<std::size_t>(k_, 9) + a.signs();
    const std::size_t pulls = kSignedLevels * signed_level(a.pull()) + signed_level(column.pull >> 2);
    Counter* const strengths = &by_strengths_[a.strengths()];
    if (grid_.kernel == 1) {
      Counter* const history = &by_column_[column.signs & 63];
      positive = matrix_sign_.code(coder_, positive, 0,
                                   {strengths, &column.positive, &row_positive_, &by_pulls_[pulls], history}, kSlow<5>);
      column.signs = column.signs << 1 | positive;
      return positive;
    }
    const std::size_t slopes =
        kSignedLevels * signed_level(2 * a.west - a.west2) + signed_level(2 * a.north - a.north2);
    return kernel_sign_.code(
        coder_, positive, k_,
        {strengths, &column.positive, &row_positive_, &by_pulls_[pulls], &by_signs_[signs], &by_slopes_[slopes]},
        kSlow<6>);
  }

  // "From the highest bit down."
  unsigned code_magnitude(unsigned magnitude, bool positive, const Around& a) {
    const int sign = 2 * positive - 1;
    const auto mean = static_cast<unsigned>((row_size_ + kernel_size_[j_ / grid_.kernel]) >> 7);
    const unsigned pull = signed_level(sign * a.pull());
    const auto tree = [&](std::vector<Counter>& trees, std::size_t context) {
      return trees.data() + ((2 * context + positive) << kMixedBits);
    };
    Counter* const place = tree(by_place_, k_);
    Counter* const by_mean = tree(by_mean_, std::min<unsigned>(mean, kLevels - 1));
    Counter* const by_pull = tree(by_pull_, pull);
    Counter* const deep = deep_.data() + (std::size_t{positive} << kMaxBits);
    Counter* const middle = grid_.kernel == 1 ? deep : by_pull;
    const unsigned bits = side_bits_[positive];
    unsigned node = 1, depth = 0;
    for (; depth < std::min(bits, mixed_bits_); ++depth) {
      const bool bit = magnitude >> (bits - 1 - depth) & 1;
      node = 2 * node + magnitude_.code(coder_, bit, depth, {place + node, by_mean + node, by_pull + node}, kSlow<3>);
    }
    for (; depth < bits; ++depth) {
      Counter& counter = (depth < kMixedBits ? middle : deep)[node];
      node = 2 * node + code_alone(coder_, magnitude >> (bits - 1 - depth) & 1, counter, kCountLimit);
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
  const AdaptiveTensor tensor_;
  const unsigned negative_;
  const Bytes bitmap_, codes_;
  std::array<unsigned, 2> side_size_{}, side_bits_{};  // of the negative and of the other centroids
  unsigned mixed_bits_ = 0;
  bool full_ = false;
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
  std::vector<Counter> by_column_, by_slopes_;
  std::vector<Counter> by_place_, by_mean_, by_pull_, deep_;
  Mixer<5> survival_{0, 0, 0}, matrix_sign_{0, 0, 0};
  Mixer<6> kernel_sign_{0, 0, 0};
  Mixer<3> magnitude_{0, 0, 0};
};

void check_codebook(const AdaptiveTensor& tensor, std::size_t centroids) {
  if (tensor.centroids > kMaxCentroids || centroids != tensor.centroids) {
    throw std::invalid_argument("a codebook has at most 256 centroids, and as many as stated");
  }
  if (tensor.centroids > 0 && (tensor.width < 8 || tensor.width > 64)) {
    throw std::invalid_argument("centroids have 8 to 64 bits");
  }
}

unsigned below_zero(const AdaptiveTensor& tensor, std::span<const std::uint64_t> codebook) {
  const auto is_below = [&](std::uint64_t centroid) { return centroid >> (tensor.width - 1) == 0; };
  return static_cast<unsigned>(std::count_if(codebook.begin(), codebook.end(), is_below));
}

}  // namespace

std::vector<std::uint8_t> encode_adaptive(const AdaptiveTensor& tensor, std::span<const std::uint64_t> codebook,
                                          std::span<const std::uint8_t> bitmap, std::span<const std::uint8_t> codes) {
  check_codebook(tensor, codebook.size());
  check_ascending(codebook, tensor.width);
  for (const auto code : codes) {
    if (code >= tensor.centroids) throw std::invalid_argument("a code is outside of the codebook");
  }
  RangeEncoder encoder;
  Model model(encoder, tensor, below_zero(tensor, codebook), bitmap, codes);
  std::vector<std::uint64_t> copy(codebook.begin(), codebook.end());
  CodebookCoder(encoder, tensor.width).run(copy);
  model.run();
  return encoder.finish();
}

void decode_adaptive(std::span<const std::uint8_t> data, const AdaptiveTensor& tensor,
                     std::span<std::uint64_t> codebook, std::span<std::uint8_t> bitmap, std::span<std::uint8_t> codes) {
  check_codebook(tensor, codebook.size());
  RangeDecoder decoder(data);
  CodebookCoder(decoder, tensor.width).run(codebook);
  Model(decoder, tensor, below_zero(tensor, codebook), bitmap, codes).run();
  if (!decoder.exact()) throw FormatError("the positions and codes end elsewhere than their bytes");
}

}  // namespace dcz
