// Adaptive probabilities of binary decisions: counters, and mixers that weight them in the logistic domain.
//
// Integers alone, which every machine computes alike. docs/format.md, "Probabilities".
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace dcz {

inline constexpr std::uint16_t kCountLimit = 1023;
inline constexpr int kStretchLimit = 3072;  // 12 in the logistic domain, whose unit is 1/256

struct MixTables {
  std::array<std::uint16_t, 2 * kStretchLimit + 1> squash{};  // logistic domain -> 65536ths
  std::array<std::int16_t, 4096> stretch{};                   // 4096ths -> logistic domain
  // By the number of decisions learned from.
  std::array<std::uint16_t, kCountLimit + 1> counter_rate{};  // 65536ths
  std::array<std::uint16_t, kCountLimit + 1> mixer_rate{};

  constexpr MixTables() {
    std::uint64_t power = std::uint64_t{1} << 32;  // e^(-i / 256) in 2^32ths
    for (int i = 0; i <= kStretchLimit; ++i) {
      const auto one = static_cast<std::uint16_t>((std::uint64_t{65536} << 32) / ((std::uint64_t{1} << 32) + power));
      squash[static_cast<std::size_t>(kStretchLimit + i)] = one;
      squash[static_cast<std::size_t>(kStretchLimit - i)] = static_cast<std::uint16_t>(65536 - one);
      power = power * 4278222859u >> 32;
    }
    std::size_t x = 0;
    for (std::size_t i = 0; i < stretch.size(); ++i) {
      while (squash[x] < 16 * i + 8) ++x;
      stretch[i] = static_cast<std::int16_t>(static_cast<int>(x) - kStretchLimit);
    }
    for (std::size_t n = 0; n < counter_rate.size(); ++n) {
      counter_rate[n] = static_cast<std::uint16_t>(131072 / (2 * n + 3));
      mixer_rate[n] = static_cast<std::uint16_t>(65536 / (n + 128));
    }
  }
};

inline constexpr MixTables kMix;

// The probability of a one in 2^22ths (upper bits), and the number of decisions behind it (the lower ten).
class Counter {
 public:
  Counter() = default;
  Counter(std::uint32_t p16, std::uint32_t count) : state_(p16 << 16 | count) {}

  std::int32_t stretched() const { return kMix.stretch[state_ >> 20]; }
  // Never 0 or 65536.
  std::uint32_t p16() const { return std::max(1u, state_ >> 16); }
  std::uint32_t p32nd() const { return state_ >> 27; }

  // Each decision moves it less than the one before, up to `limit` decisions.
  void learn(bool bit, std::uint32_t limit) {
    const std::uint32_t count = state_ & kCountLimit;
    const auto p = static_cast<std::int32_t>(state_ >> 10);
    const std::int64_t error = (-static_cast<std::int32_t>(bit) & 0x3fffff) - p;
    state_ += static_cast<std::uint32_t>(error * kMix.counter_rate[count] >> 16) << 10;
    state_ += count < limit;
  }

 private:
  std::uint32_t state_ = 32768u << 16;
};

// "A counter alone codes a bit, and learns it."
template <class Coder>
bool code_alone(Coder& coder, bool bit, Counter& counter, std::uint32_t limit) {
  bit = coder.code(bit, counter.p16());
  counter.learn(bit, limit);
  return bit;
}

template <std::size_t N>
inline constexpr auto kSlow = [] {
  std::array<std::uint16_t, N> limits{};
  limits.fill(kCountLimit);
  return limits;
}();

// Of a mixer's weight.
constexpr std::int32_t percent(int weight) { return 65536 * weight / 100; }

// One weighted sum of N stretched probabilities for each context; the weights, in 65536ths, follow the error.
template <std::size_t N>
class Mixer {
 public:
  // `haste` is added to the rate at which weights are learned.
  Mixer(std::size_t contexts, std::int32_t weight, std::int32_t haste) : sets_(contexts), haste_(haste) {
    for (auto& set : sets_) set.weights.fill(weight);
  }

  // Codes one decision; counters and weights learn from it.
  template <class Coder>
  bool code(Coder& coder, bool bit, std::size_t context, const std::array<Counter*, N>& inputs,
            const std::array<std::uint16_t, N>& limits) {
    Set& set = sets_[context];
    std::array<std::int32_t, N> stretched;
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < N; ++i) {
      stretched[i] = inputs[i]->stretched();
      sum += std::int64_t{set.weights[i]} * stretched[i];
    }
    const auto dot = std::clamp<std::int64_t>(sum >> 16, -kStretchLimit, kStretchLimit);
    const std::int32_t p = kMix.squash[static_cast<std::size_t>(dot + kStretchLimit)];
    bit = coder.code(bit, static_cast<std::uint32_t>(p));
    const std::int64_t error =
        ((static_cast<std::int32_t>(bit) << 16) - p) * (kMix.mixer_rate[set.count] + haste_) >> 4;
    set.count += set.count < kCountLimit;
    for (std::size_t i = 0; i < N; ++i) {
      const auto moved = static_cast<std::uint32_t>((error * stretched[i] + (1 << 17)) >> 18);
      set.weights[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(set.weights[i]) + moved);
      inputs[i]->learn(bit, limits[i]);
    }
    return bit;
  }

 private:
  struct Set {
    std::array<std::int32_t, N> weights;
    std::uint32_t count = 0;
  };
  std::vector<Set> sets_;
  std::int32_t haste_;
};

}  // namespace dcz
