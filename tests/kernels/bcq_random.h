// A random BCQ weight in canonical form, for tests and benches.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/core/dtype.h"
#include "kernels/formats/bcq/canonical.h"
#include "kernels/formats/bcq/i8.h"
#include "kernels/formats/bcq/i8_scales.h"
#include "kernels/formats/bcq/prepare.h"

namespace bitdial::kernels {

struct RandomBcqOptions {
  int64_t in_features = 64;
  int64_t out_features = 64;
  int64_t group_size = 32;
  int max_bits = 4;
  std::vector<int> sets = {};  // bits of the sets, ascending; empty: 1 .. max_bits
  bool with_beta = true;
  // Scales that are multiples of 1/8 below 4: with integer activations every sum is exact in fp32.
  bool exact = false;
  uint32_t seed = 1;
};

// Owns the tensors `canonical` views.
struct RandomBcq {
  std::vector<int32_t> codes;
  std::vector<std::vector<uint16_t>> alphas;
  std::vector<std::vector<uint16_t>> betas;
  CanonicalBcq canonical;

  explicit RandomBcq(const RandomBcqOptions& options) {
    std::mt19937 random(options.seed);
    const int64_t num_groups = options.in_features / options.group_size;
    codes.resize(options.in_features / 32 * options.max_bits * options.out_features);
    for (int32_t& word : codes) word = static_cast<int32_t>(random());
    canonical.group_size = options.group_size;
    canonical.codes = {reinterpret_cast<const std::byte*>(codes.data()),
                       DType::kI32,
                       {options.in_features / 32, options.max_bits, options.out_features}};
    std::vector<int> sets = options.sets;
    for (int bits = 1; options.sets.empty() && bits <= options.max_bits; ++bits)
      sets.push_back(bits);
    std::uniform_real_distribution<float> uniform(0.0f, 1.0f);
    const auto scale = [&](float size) {
      if (options.exact) return F32ToF16(static_cast<float>(random() % 32) / 8.0f);
      return F32ToF16(size * (uniform(random) - 0.25f));
    };
    for (int bits : sets) {
      std::vector<uint16_t>& alpha = alphas.emplace_back(num_groups * bits * options.out_features);
      for (size_t i = 0; i < alpha.size(); ++i) {
        const int plane = static_cast<int>(i / options.out_features % bits);
        alpha[i] = scale(1.0f / static_cast<float>(1 << plane));
      }
      std::vector<uint16_t>& beta = betas.emplace_back(num_groups * options.out_features);
      for (uint16_t& value : beta) value = scale(0.5f);
      CanonicalScales& set = canonical.scales.emplace_back();
      set.bits = bits;
      set.alpha = {reinterpret_cast<const std::byte*>(alpha.data()),
                   DType::kF16,
                   {num_groups, bits, options.out_features}};
      if (options.with_beta) {
        set.beta = {reinterpret_cast<const std::byte*>(beta.data()),
                    DType::kF16,
                    {num_groups, options.out_features}};
      }
    }
  }
  RandomBcq(const RandomBcq&) = delete;
  RandomBcq& operator=(const RandomBcq&) = delete;
};

// With what every kernel row of its shape reads.
inline BcqWeight PrepareForEveryRow(const CanonicalBcq& canonical, ThreadPool& pool) {
  BcqWeight weight = PrepareBcq(canonical, pool).value();
  if (weight.max_bits <= bcq::kI8MaxPlanes) {
    EXPECT_TRUE(AddI8Scales(weight, pool).ok());
  }
  return weight;
}

// |alpha| summed over a set's planes times this is more than its 8-bit alphas are off together: half of
// the least unit each, were that the best (i8_scales.h), and its bf16 step.
inline double I8WeightError(int bits) {
  return 0.5 * bits * (1 + 0x1p-7) / (127 - 0.5 * bits);
}

// More than an 8-bit input of a span may be off (i8.h).
inline double I8InputError(const float* x, int64_t span) {
  double size = 0;
  for (int64_t i = 0; i < span; i += bcq::kQuadInputs) {
    double quad = 0;
    for (int64_t t = 0; t < bcq::kQuadInputs; ++t) {
      const double input = std::abs(static_cast<double>(x[i + t]));
      size = std::max(size, input);
      quad += input;
    }
    size = std::max(size, quad * 127 / 253);
  }
  return 1.01 * 0.5 * size / 127;
}

}  // namespace bitdial::kernels
