// The class bcq_i8 in plain C++: what it means, and what runs where nothing faster does.
#include <algorithm>
#include <cmath>

#include "kernels/core/dtype.h"
#include "kernels/formats/bcq/dequant_i8.h"
#include "kernels/formats/bcq/lut4_i8_tile.h"

namespace bitdial::kernels::bcq {
namespace {

I8Span QuantizeSpan(const float* x, int64_t span_inputs, int8_t* x8) {
  float largest = 0, quad = 0, poison = 0;
  for (int64_t i = 0; i < span_inputs; ++i) {
    largest = std::max(largest, std::abs(x[i]));
    poison += x[i] * 0.0f;  // NaN when x[i] is not finite
  }
  for (const float* q = x; q != x + span_inputs; q += kQuadInputs) {
    quad = std::max(quad, (std::abs(q[0]) + std::abs(q[1])) + (std::abs(q[2]) + std::abs(q[3])));
  }
  const float size = std::max(largest, quad * kI8QuadShare);
  const float inverse = I8Inverse(size);
  int32_t sum = 0, abs_sum = 0;
  for (int64_t i = 0; i < span_inputs; ++i) {
    const float scaled = x[i] * inverse;
    x8[i] = std::abs(scaled) < 128.0f ? static_cast<int8_t>(std::nearbyint(scaled)) : int8_t{0};
    sum += x8[i];
    abs_sum += std::abs(x8[i]);
  }
  return MakeI8Span(I8Scale(size) + poison, sum, abs_sum);
}

// y of one output goes on over a span.
void AddSpan(uint16_t unit, const uint16_t* beta, const I8Span& span, int32_t dot, float& y) {
  y = std::fma(I8Unit(unit), span.scale * static_cast<float>(dot), y);
  if (beta != nullptr) y = std::fma(F16ToF32(*beta), span.input_sum, y);
}

struct Reference {
  static constexpr int64_t kRowBlock = 1;

  template <int kRows>
  static void Run(const I8Pass& pass) {
    for (int64_t lane = 0; lane < kTileLanes; ++lane) {
      int32_t lookups = 0, alpha_sum = 0;
      for (int p = 0; p < pass.bits; ++p) {
        const int32_t alpha = pass.alpha[p * kTileLanes + lane];
        alpha_sum += alpha;
        lookups += alpha * PlaneSum(pass, p, lane);
      }
      AddSpan(pass.unit[lane], pass.beta == nullptr ? nullptr : pass.beta + lane, *pass.span,
              2 * lookups - alpha_sum * pass.span->abs_sum, pass.acc[lane]);
    }
  }

  static int32_t PlaneSum(const I8Pass& pass, int64_t plane, int64_t lane) {
    int32_t sum = 0;
    for (int64_t block = 0; block < pass.num_blocks; ++block) {
      const uint32_t word = pass.codes[plane * pass.plane_stride + block * kTileLanes + lane];
      const auto* const tables = reinterpret_cast<const uint8_t*>(pass.Tables(0, block));
      for (int t = 0; t < kTablesPerBlock; ++t) {
        sum += tables[I8PlaceOfTable(t) + (word >> (4 * t) & 15)];
      }
    }
    return sum;
  }
};

}  // namespace

void Lut4I8BuildRef(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                    std::byte* tables, float*) noexcept {
  const int64_t span_inputs = SpanInputs(args.group_size);
  std::byte* const out = tables + args.TableOffset(group, row);
  auto* const spans = reinterpret_cast<I8Span*>(out + I8SpanOffset(args.group_size));
  for (int64_t first = 0; first < args.group_size; first += span_inputs) {
    int8_t x8[kMaxSpanInputs];
    spans[first / span_inputs] = QuantizeSpan(x + first, span_inputs, x8);
    for (int64_t i = 0; i < span_inputs; i += kQuadInputs) {
      const int64_t quad = (first + i) / kQuadInputs;
      auto* const entries =
          reinterpret_cast<uint8_t*>(out + quad / kTablesPerBlock * kI8BlockBytes +
                                     I8PlaceOfTable(quad % kTablesPerBlock));
      for (int c = 0; c < kTableEntries; ++c) {
        int entry = 0;
        for (int t = 0; t < kQuadInputs; ++t) {
          const bool agrees = ((c >> t & 1) != 0) == (x8[i + t] >= 0);
          entry += agrees ? std::abs(x8[i + t]) : 0;
        }
        entries[c] = static_cast<uint8_t>(entry);
      }
    }
  }
}
int64_t Lut4I8TileRef(const Lut4Args& args, int64_t tile, float* acc, int64_t acc_stride) noexcept {
  return RunI8Tile<Reference>(args, tile, acc, acc_stride);
}

void I8QuantizeRef(const float* x, int64_t row, const I8Rows& rows) noexcept {
  auto* out = reinterpret_cast<int8_t*>(rows.x + row * rows.row_bytes);
  for (int64_t span = 0; span < rows.num_spans; ++span) {
    const int64_t at = span * rows.span_inputs;
    rows.spans[row * rows.num_spans + span] = QuantizeSpan(x + at, rows.span_inputs, out + at);
  }
}

// weights: int8 [span][input][64 lanes]
void I8PanelRef(const I8Panel& panel) noexcept {
  auto* out = reinterpret_cast<int8_t*>(panel.weights);
  for (int64_t span = 0; span < panel.num_spans; ++span) {
    const int8_t* const alpha = panel.Alpha(span);
    for (int64_t i = 0; i < panel.span_inputs; ++i) {
      const uint32_t* const words = panel.Codes(span, i / kBlockInputs);
      for (int64_t lane = 0; lane < kTileLanes; ++lane) {
        int sum = 0;
        for (int p = 0; p < panel.set.bits; ++p) {
          const uint32_t word = words[p * panel.layout.plane_stride + lane];
          const int a8 = alpha[p * kTileLanes + lane];
          sum += (word >> (i % kBlockInputs) & 1) != 0 ? a8 : -a8;
        }
        *out++ = static_cast<int8_t>(sum);
      }
    }
  }
}

void I8GemmRef(const I8GemmArgs& a) noexcept {
  const I8Panel& panel = a.panel;
  for (int64_t r = 0; r < a.num_rows; ++r) {
    const auto* x = reinterpret_cast<const int8_t*>(a.rows.x + (a.first_row + r) * a.rows.row_bytes) +
                    panel.first_span * panel.span_inputs;
    const auto* w = reinterpret_cast<const int8_t*>(panel.weights);
    for (int64_t span = 0; span < panel.num_spans; ++span) {
      const uint16_t* const beta = panel.Beta(span);
      for (int64_t lane = 0; lane < kTileLanes; ++lane) {
        int32_t dot = 0;
        for (int64_t i = 0; i < panel.span_inputs; ++i) dot += w[i * kTileLanes + lane] * x[i];
        AddSpan(panel.Unit(span)[lane], beta == nullptr ? nullptr : beta + lane, a.Span(r, span), dot,
                a.acc[r * kTileLanes + lane]);
      }
      x += panel.span_inputs;
      w += panel.span_inputs * kTileLanes;
    }
  }
}

}  // namespace bitdial::kernels::bcq
