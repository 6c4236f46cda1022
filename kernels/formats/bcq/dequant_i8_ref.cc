// The class dequant_i8 in plain C++: what it means, and what runs where nothing faster does.
#include <algorithm>
#include <cmath>

#include "kernels/core/dtype.h"
#include "kernels/formats/bcq/dequant_i8.h"

namespace bitdial::kernels::bcq {
namespace {

// The scales of one output in one group.
struct OutputScales {
  int32_t a16[kMaxBits];
  float sw;

  OutputScales(const ScaleView& set, const uint16_t* alpha) {
    float size = 0;
    for (int p = 0; p < set.bits; ++p) size += std::abs(F16ToF32(alpha[p * kTileLanes]));
    const float inverse = size > 0 ? 127.0f * (1 << kI8FractionBits) / size : 0.0f;
    for (int p = 0; p < set.bits; ++p) {
      a16[p] =
          static_cast<int32_t>(std::nearbyint(F16ToF32(alpha[p * kTileLanes]) * inverse));
    }
    sw = size / 127.0f;
  }
};

}  // namespace

void I8QuantizeRef(const float* x, int64_t row, const I8Rows& rows) noexcept {
  auto* out = reinterpret_cast<int8_t*>(rows.x + row * rows.row_bytes);
  for (int64_t span = 0; span < rows.num_spans; ++span) {
    float largest = 0, poison = 0;
    for (int64_t i = 0; i < rows.span_inputs; ++i) {
      largest = std::max(largest, std::abs(x[i]));
      poison += x[i] * 0.0f;  // NaN when x[i] is not finite
    }
    const bool is_zero = !(largest > kIntTiny);
    const float inverse = is_zero ? 0.0f : 127.0f / largest;
    int32_t sum = 0;
    for (int64_t i = 0; i < rows.span_inputs; ++i) {
      const float scaled = x[i] * inverse;
      out[i] = std::abs(scaled) < 128.0f ? static_cast<int8_t>(std::nearbyint(scaled)) : int8_t{0};
      sum += out[i];
    }
    rows.scales[row * rows.num_spans + span] = (is_zero ? 0.0f : largest / 127.0f) + poison;
    rows.sums[row * rows.num_spans + span] = sum;
    x += rows.span_inputs;
    out += rows.span_inputs;
  }
}

// weights: int8 [span][input][64 lanes]
void I8PanelRef(const I8PanelArgs& a) noexcept {
  auto* weights = reinterpret_cast<int8_t*>(a.panel.weights);
  for (int64_t s = 0; s < a.num_spans; ++s) {
    const int64_t first_input = (a.first_span + s) * a.span_inputs;
    const int64_t group = first_input / a.group_size;
    for (int64_t lane = 0; lane < kTileLanes; ++lane) {
      const OutputScales scales(
          a.set, a.set.alpha + a.layout.AlphaOffset(a.tile, group, a.set.bits) + lane);
      a.panel.scales[s * kTileLanes + lane] = scales.sw;
      if (a.panel.has_beta) {
        a.panel.betas[s * kTileLanes + lane] =
            F16ToF32(a.set.beta[a.layout.BetaOffset(a.tile, group) + lane]);
      }
      for (int64_t i = 0; i < a.span_inputs; ++i) {
        const int64_t k = first_input + i;
        int32_t sum = 1 << (kI8FractionBits - 1);
        for (int p = 0; p < a.set.bits; ++p) {
          const uint32_t word = a.codes[a.layout.CodeOffset(a.tile, p, k / kBlockInputs) + lane];
          sum += (word >> (k % kBlockInputs) & 1) != 0 ? scales.a16[p] : -scales.a16[p];
        }
        weights[(s * a.span_inputs + i) * kTileLanes + lane] =
            static_cast<int8_t>(sum >> kI8FractionBits);
      }
    }
  }
}

void I8GemmRef(const I8GemmArgs& a) noexcept {
  for (int64_t r = 0; r < a.num_rows; ++r) {
    const int64_t row = a.first_row + r, of_row = row * a.rows.num_spans + a.first_span;
    const auto* x = reinterpret_cast<const int8_t*>(a.rows.x + row * a.rows.row_bytes) +
                    a.first_span * a.rows.span_inputs;
    const auto* w = reinterpret_cast<const int8_t*>(a.panel.weights);
    for (int64_t s = 0; s < a.num_spans; ++s) {
      const float sx = a.rows.scales[of_row + s];
      const float input_sum = sx * static_cast<float>(a.rows.sums[of_row + s]);
      for (int64_t lane = 0; lane < kTileLanes; ++lane) {
        int32_t dot = 0;
        for (int64_t i = 0; i < a.rows.span_inputs; ++i) dot += w[i * kTileLanes + lane] * x[i];
        float& y = a.acc[r * kTileLanes + lane];
        y = std::fma(a.panel.scales[s * kTileLanes + lane], sx * static_cast<float>(dot), y);
        if (a.panel.has_beta) y = std::fma(a.panel.betas[s * kTileLanes + lane], input_sum, y);
      }
      x += a.rows.span_inputs;
      w += a.rows.span_inputs * kTileLanes;
    }
  }
}

}  // namespace bitdial::kernels::bcq
