// The class int8_i16 in plain C++: what it means, and what runs where nothing faster does.
#include <algorithm>
#include <cmath>

#include "kernels/core/dtype.h"
#include "kernels/formats/int8/int8.h"

namespace bitdial::kernels::int8 {

void QuantizeRef(const float* x, int64_t row, const Rows& rows) noexcept {
  int16_t* out = rows.x + row * rows.in_features;
  for (int64_t span = 0; span < rows.NumSpans(); ++span) {
    float size = 0, poison = 0;
    for (int64_t i = 0; i < rows.span_inputs; ++i) {
      size = std::max(size, std::abs(x[i]));
      poison += x[i] * 0.0f;  // NaN when x[i] is not finite
    }
    const float inverse = Inverse(size);
    int32_t sum = 0;
    for (int64_t i = 0; i < rows.span_inputs; ++i) {
      const float scaled = x[i] * inverse;
      out[i] = std::abs(scaled) < 32768.0f ? static_cast<int16_t>(std::nearbyint(scaled)) : int16_t{0};
      sum += out[i];
    }
    rows.spans[row * rows.NumSpans() + span] = {Scale(size) + poison, sum};
    x += rows.span_inputs;
    out += rows.span_inputs;
  }
}

void TileRef(const TileArgs& a) noexcept {
  const int64_t num_spans = a.rows.NumSpans(), span_inputs = a.rows.span_inputs;
  for (int64_t r = 0; r < a.num_rows; ++r) {
    const int16_t* const x = a.rows.x + (a.first + r) * a.rows.in_features;
    for (int64_t lane = 0; lane < kTileLanes; ++lane) {
      float y = 0;
      for (int64_t span = 0; span < num_spans; ++span) {
        int32_t sum = 0;
        for (int64_t i = span * span_inputs; i < (span + 1) * span_inputs; ++i) {
          sum += a.weights[(i / 2 * kTileLanes + lane) * 2 + i % 2] * x[i];
        }
        const Span& of_row = a.SpanOf(r, span);
        const auto dot = static_cast<float>(2 * sum + of_row.sum);
        y = std::fma(F16ToF32(a.alpha[span * kTileLanes + lane]), of_row.scale * dot, y);
        if (a.beta == nullptr) continue;
        const float input_sum = of_row.scale * static_cast<float>(of_row.sum);
        y = std::fma(F16ToF32(a.beta[span * kTileLanes + lane]), input_sum, y);
      }
      a.acc[r * kTileLanes + lane] = y;
    }
  }
}

}  // namespace bitdial::kernels::int8
