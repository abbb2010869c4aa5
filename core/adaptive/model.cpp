// Codebook, mask and codes of a pruned tensor in one arithmetic-coded string. docs/format.md, "Adaptive".
#include "adaptive/model.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <stdexcept>
#include <string>

#include "adaptive/codebook.hpp"
#include "adaptive/magnitudes.hpp"
#include "adaptive/neighbours.hpp"
#include "adaptive/range_coder.hpp"
#include "adaptive/signs.hpp"
#include "adaptive/survival.hpp"
#include "common/error.hpp"
#include "common/shape.hpp"

namespace dcz {
namespace {

constexpr unsigned kMaxCentroids = 256;

// The weights of the encoder; its coders give the same back.
struct GivenWeights {
  using Error = std::invalid_argument;
  std::span<const std::uint8_t> bitmap, codes;

  bool survives(std::uint64_t i) const { return bitmap[i / 8] >> (i % 8) & 1; }
  unsigned code(std::size_t survivor) const { return codes[survivor]; }
  void set_survives(std::uint64_t, bool) const {}
  void set_code(std::size_t, unsigned) const {}
};

// The weights that the decoder finds; its coders take zeros.
struct FoundWeights {
  using Error = FormatError;
  std::span<std::uint8_t> bitmap, codes;

  bool survives(std::uint64_t) const { return false; }
  unsigned code(std::size_t) const { return 0; }
  void set_survives(std::uint64_t i, bool bit) const {
    if (i % 8 == 0) bitmap[i / 8] = 0;
    bitmap[i / 8] = static_cast<std::uint8_t>(bitmap[i / 8] | bit << (i % 8));
  }
  void set_code(std::size_t survivor, unsigned code) const { codes[survivor] = static_cast<std::uint8_t>(code); }
};

// Codes whether each weight survives, and a survivor's sign and magnitude: its distance from zero in centroids.
template <bool kMatrix, class Coder, class Weights>
class WeightsCoder {
 public:
  WeightsCoder(Coder& coder, const Grid& grid, const AdaptiveTensor& tensor, unsigned negative, Weights weights)
      : coder_(coder),
        weights_(weights),
        grid_(grid),
        tensor_(tensor),
        negative_(negative),
        kinds_{negative, tensor.centroids - negative},
        here_(grid_.row + 2),
        above_(grid_.row + 2),
        survival_(grid_, tensor.survivors),
        signs_(grid_),
        magnitudes_(grid_, tensor.survivors, kinds_) {}

  void run() {
    for (std::uint64_t begin = 0; begin < grid_.size; begin += grid_.row) {
      code_row(begin, std::min(grid_.row, grid_.size - begin));
    }
    if (survivors_ != tensor_.survivors) wrong_survivors();
  }

 private:
  void code_row(std::uint64_t begin, std::uint64_t length) {
    std::swap(here_, above_);
    std::fill(here_.begin(), here_.end(), std::int8_t{0});
    survival_.begin_row();
    signs_.begin_row();
    magnitudes_.begin_row();
    for (Place at; at.in_row < length; ++at.in_row) {
      std::int8_t& here = here_[at.in_row + 2];
      const Around a = around<kMatrix>(grid_, &here, &above_[at.in_row + 2], at);
      const std::uint64_t i = begin + at.in_row;
      const bool survives = survival_.code(coder_, weights_.survives(i), at, a);
      weights_.set_survives(i, survives);
      if (survives) here = code_survivor(at, a);
      if constexpr (!kMatrix) {
        if (++at.in_line == grid_.line) at.in_line = 0;
        if (++at.in_kernel == grid_.kernel) at.in_kernel = 0;
      }
    }
  }

  // The signed size of the weight.
  std::int8_t code_survivor(const Place& at, const Around& a) {
    if (survivors_ == tensor_.survivors) wrong_survivors();
    const std::size_t number = survivors_++;
    if (tensor_.centroids == 0) return 64;
    const unsigned code = weights_.code(number);
    bool positive = kinds_[1] > 0;
    if (kinds_[0] > 0 && kinds_[1] > 0) positive = signs_.code(coder_, code >= negative_, at, a);
    // no branch: half of them would be mispredicted
    const unsigned flip = unsigned{positive} - 1;
    const unsigned magnitude = magnitudes_.code(coder_, (code - negative_) ^ flip, positive, at, a);
    if (magnitude >= kinds_[positive]) throw FormatError("a code is outside of the codebook");
    weights_.set_code(number, negative_ + (magnitude ^ flip));
    const int size = magnitudes_.size_of(magnitude, positive);
    const int signed_size = (size ^ static_cast<int>(flip)) - static_cast<int>(flip);
    magnitudes_.learn(size, at);
    signs_.learn(signed_size, at);
    return static_cast<std::int8_t>(signed_size);
  }

  [[noreturn]] void wrong_survivors() const {
    throw typename Weights::Error(std::to_string(tensor_.survivors) + " survivors are stated, the mask holds others");
  }

  Coder& coder_;
  const Weights weights_;
  const Grid grid_;
  const AdaptiveTensor tensor_;
  const unsigned negative_;                // centroids below zero
  const std::array<unsigned, 2> kinds_;    // centroids below zero, and others
  std::size_t survivors_ = 0;              // so far
  std::vector<std::int8_t> here_, above_;  // signed sizes of this row and the previous one, behind two zeros
  Survival<kMatrix> survival_;
  Signs<kMatrix> signs_;
  Magnitudes<kMatrix> magnitudes_;
};

// A program of its own for matrices, whose weights have fewer neighbours.
template <class Coder, class Weights>
void code_weights(Coder& coder, const AdaptiveTensor& tensor, unsigned negative, Weights weights) {
  const Grid grid(tensor.shape);
  if (grid.matrix()) {
    WeightsCoder<true, Coder, Weights>(coder, grid, tensor, negative, weights).run();
  } else {
    WeightsCoder<false, Coder, Weights>(coder, grid, tensor, negative, weights).run();
  }
}

void check_codebook(const AdaptiveTensor& tensor, std::size_t centroids) {
  if (tensor.centroids > kMaxCentroids || centroids != tensor.centroids) {
    throw std::invalid_argument("a codebook has at most 256 centroids, and as many as stated");
  }
  if (tensor.centroids > 0 && (tensor.width < 8 || tensor.width > 64)) {
    throw std::invalid_argument("centroids have 8 to 64 bits");
  }
}

void check_sizes(const AdaptiveTensor& tensor, std::size_t bitmap_bytes, std::size_t codes) {
  const std::uint64_t size = extent(tensor.shape);
  if (tensor.survivors > size || bitmap_bytes != size / 8 + (size % 8 != 0) ||
      codes != (tensor.centroids > 0 ? tensor.survivors : 0)) {
    throw std::invalid_argument("shape, survivors, bitmap and codes do not fit together");
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
  check_sizes(tensor, bitmap.size(), codes.size());
  RangeEncoder encoder;
  std::vector<std::uint64_t> copy(codebook.begin(), codebook.end());
  CodebookCoder(encoder, tensor.width).run(copy);
  code_weights(encoder, tensor, below_zero(tensor, codebook), GivenWeights{bitmap, codes});
  return encoder.finish();
}

void decode_adaptive(std::span<const std::uint8_t> data, const AdaptiveTensor& tensor,
                     std::span<std::uint64_t> codebook, std::span<std::uint8_t> bitmap, std::span<std::uint8_t> codes) {
  check_codebook(tensor, codebook.size());
  check_sizes(tensor, bitmap.size(), codes.size());
  RangeDecoder decoder(data);
  CodebookCoder(decoder, tensor.width).run(codebook);
  code_weights(decoder, tensor, below_zero(tensor, codebook), FoundWeights{bitmap, codes});
  if (!decoder.exact()) throw FormatError("the mask and codes end elsewhere than their bytes");
}

}  // namespace dcz
