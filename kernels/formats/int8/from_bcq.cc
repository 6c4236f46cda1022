#include "kernels/formats/int8/from_bcq.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/core/check.h"
#include "kernels/core/dtype.h"
#include "kernels/core/round.h"
#include "kernels/formats/bcq/prepare.h"
#include "kernels/formats/int8/int8.h"

namespace bitdial::kernels {
namespace {

using bcq::kBlockInputs;
using int8::kTileLanes;

static_assert(kTileLanes == bcq::kTileLanes && int8::kMaxSpanInputs == bcq::kMaxSpanInputs);

// 64 outputs over a span, without beta.
class SpanWeights {
 public:
  SpanWeights(const BcqWeight& weight, int64_t tile, int64_t first_input, int64_t span_inputs)
      : span_inputs_(span_inputs) {
    const bcq::Layout layout = bcq::LayoutOf(weight);
    const bcq::ScaleView set = bcq::ViewOf(weight.scales.front());
    const int64_t group = first_input / weight.group_size;
    const auto* const codes = weight.codes.As<uint32_t>();
    const uint16_t* const alphas = set.alpha + layout.AlphaOffset(tile, group, set.bits);
    float size = 0;
    for (int p = 0; p < set.bits; ++p) {
      const auto level = static_cast<float>(1 << (set.bits - 1 - p));
      size += level * level;
      float alpha[kTileLanes];
      for (int64_t lane = 0; lane < kTileLanes; ++lane) {
        alpha[lane] = F16ToF32(alphas[p * kTileLanes + lane]);
        fit_.alpha[lane] += level * alpha[lane];
      }
      for (int64_t first = 0; first < span_inputs; first += kBlockInputs) {
        AddPlane(codes + layout.CodeOffset(tile, p, (first_input + first) / kBlockInputs), alpha,
                 first);
      }
    }
    for (int64_t i = 0; i < span_inputs; ++i) {
      for (int64_t lane = 0; lane < kTileLanes; ++lane) {
        range_.alpha[lane] = std::max(range_.alpha[lane], std::abs(values_[i][lane]));
      }
    }
    for (int64_t lane = 0; lane < kTileLanes; ++lane) {
      fit_.alpha[lane] = F16ToF32(F32ToF16(fit_.alpha[lane] / size));
      range_.alpha[lane] = F16ToF32(F32ToF16(range_.alpha[lane] / 255.0f));
    }
  }

  // weights [pair][64][2], alpha f16 [64]
  void Store(int8_t* weights, uint16_t* alpha) {
    Measure(fit_);
    Measure(range_);
    float chosen[kTileLanes], inverse[kTileLanes];
    for (int64_t lane = 0; lane < kTileLanes; ++lane) {
      chosen[lane] = fit_.error[lane] <= range_.error[lane] ? fit_.alpha[lane] : range_.alpha[lane];
      inverse[lane] = Inverse(chosen[lane]);
      alpha[lane] = F32ToF16(chosen[lane]);
    }
    for (int64_t i = 0; i < span_inputs_; ++i) {
      for (int64_t lane = 0; lane < kTileLanes; ++lane) {
        weights[(i / 2 * kTileLanes + lane) * 2 + i % 2] =
            static_cast<int8_t>(Step(values_[i][lane] * inverse[lane]));
      }
    }
  }

 private:
  // A grid for each output: alpha * (2 * step + 1).
  struct Grid {
    float alpha[kTileLanes] = {};
    float error[kTileLanes] = {};  // sum of squares
  };

  static float Inverse(float alpha) { return alpha == 0 ? 0.0f : 1.0f / alpha; }
  static float Step(float value) {  // in units of alpha
    return std::clamp(RoundEven(0.5f * (value - 1.0f)), -128.0f, 127.0f);
  }

  void Measure(Grid& grid) const {
    for (int64_t i = 0; i < span_inputs_; ++i) {
      for (int64_t lane = 0; lane < kTileLanes; ++lane) {
        const float alpha = grid.alpha[lane], value = values_[i][lane];
        const float off = alpha * (2 * Step(value * Inverse(alpha)) + 1) - value;
        grid.error[lane] += off * off;
      }
    }
  }

  void AddPlane(const uint32_t* words, const float* alpha, int64_t first) {
    for (int64_t t = 0; t < kBlockInputs; ++t) {
      for (int64_t lane = 0; lane < kTileLanes; ++lane) {
        const uint32_t sign = (~words[lane] >> t) << 31;
        values_[first + t][lane] +=
            std::bit_cast<float>(std::bit_cast<uint32_t>(alpha[lane]) ^ sign);
      }
    }
  }

  int64_t span_inputs_;
  Grid fit_;    // of the planes' scales
  Grid range_;  // of the values
  float values_[int8::kMaxSpanInputs][kTileLanes] = {};
};

}  // namespace

absl::StatusOr<Int8Weight> MakeInt8(const BcqWeight& weight, ThreadPool& pool) {
  BITDIAL_CHECK(weight.scales.size() == 1);
  const bcq::Layout layout = bcq::LayoutOf(weight);
  const int64_t in = weight.in_features;
  Int8Weight made;
  made.in_features = in;
  made.out_features = weight.out_features;
  made.span_inputs = bcq::SpanInputs(weight.group_size);
  const int64_t num_spans = in / made.span_inputs;
  const auto allocate = [&](int64_t lanes, size_t bytes) {
    return Buffer::Allocate(
        Device::kCpu, static_cast<size_t>(layout.num_tiles * lanes * kTileLanes) * bytes);
  };
  BITDIAL_ASSIGN_OR_RETURN(made.weights, allocate(in, 1));
  BITDIAL_ASSIGN_OR_RETURN(made.alpha, allocate(num_spans, 2));
  const uint16_t* const beta = bcq::ViewOf(weight.scales.front()).beta;
  if (beta != nullptr) {
    BITDIAL_ASSIGN_OR_RETURN(made.beta, allocate(num_spans, 2));
  }
  pool.ParallelFor(layout.num_tiles, [&](int64_t tile) {
    for (int64_t span = 0; span < num_spans; ++span) {
      const int64_t input = span * made.span_inputs, at = (tile * num_spans + span) * kTileLanes;
      SpanWeights(weight, tile, input, made.span_inputs)
          .Store(made.weights.As<int8_t>() + (tile * in + input) * kTileLanes,
                 made.alpha.As<uint16_t>() + at);
      if (beta == nullptr) continue;
      std::copy_n(beta + layout.BetaOffset(tile, input / weight.group_size), kTileLanes,
                  made.beta.As<uint16_t>() + at);
    }
  });
  return made;
}

}  // namespace bitdial::kernels
