// Weights of 8 bits on a uniform grid, times activations of 16 bits: what a head with more planes than
// the class bcq_i8 takes runs as. POD only.
//
// W[o, i] = alpha[span, o] * (2 * w8[o, i] + 1) + beta[span, o], the levels of bit-planes whose scales
// are powers of two times the last one: those of `quantize` are, and become this without a loss.
//
// Numeric class "int8_i16", for row r and output o:
//   y = 0
//   for span ascending:
//     size   = max |x|
//     x16[i] = rint(x[i] * (32767 / size)),  sx = size / 32767
//     y = fma(alpha, sx * float(2 * (sum of w8 * x16) + sum of x16), y)      exact in int32
//     y = fma(beta, sx * float(sum of x16), y)                               no beta: left out
//   y = y + bias
// in fp32. A span with an input that is not finite has sx NaN, so the output is NaN.
// Implementations agree bit for bit, on any processor, and rows do not depend on each other.
//
// Layout, tile by tile:
//   weights  int8 [out_tile][pair of inputs][64 outputs][2]
//   alpha    f16 [out_tile][span][64 outputs], beta likewise; absent when all zero
// A tile is one sequential stream, and a register of weights multiplies one pair of a row. Outputs past
// out_features hold zeros.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/view.h"

namespace bitdial::kernels::int8 {

inline constexpr int64_t kTileLanes = 64;
inline constexpr int64_t kMaxSpanInputs = 128;  // 2 * 128 * 128 * 32767 + 128 * 32767 < 2^31

// A largest input up to this counts as zero: far below it 32767 / size overflows.
inline constexpr float kTiny = 1e-30f;

// Bytes of weights fetched ahead of use, into L2: the hardware's prefetchers end at every 4 KiB.
inline constexpr int64_t kFetchAhead = 6144;

BITDIAL_INLINE float Inverse(float size) { return size > kTiny ? 32767.0f / size : 0.0f; }
BITDIAL_INLINE float Scale(float size) { return size > kTiny ? size / 32767.0f : 0.0f; }

// Activations, quantized.
struct Span {
  float scale;  // sx
  int32_t sum;  // of x16
};
struct Rows {
  int16_t* x;   // [num_rows][in_features]
  Span* spans;  // [num_rows][num_spans]
  int64_t in_features;
  int64_t span_inputs;

  BITDIAL_INLINE int64_t NumSpans() const { return in_features / span_inputs; }
};
// Writes row `row` of x and of spans.
using QuantizeFn = void (*)(const float* x, int64_t row, const Rows& rows) noexcept;

// acc[r][64] = y without bias, for the 64 outputs of a tile and rows [first, first + num_rows).
struct TileArgs {
  Rows rows;
  int64_t first;
  int64_t num_rows;
  const int8_t* weights;  // of the tile, 64-byte aligned
  const uint16_t* alpha;  // of the tile
  const uint16_t* beta;   // likewise; null: zeros
  float* acc;

  // Row `row` of the call.
  BITDIAL_INLINE const Span& SpanOf(int64_t row, int64_t span) const {
    return rows.spans[(first + row) * rows.NumSpans() + span];
  }
};
using TileFn = void (*)(const TileArgs& args) noexcept;

struct Isa {
  QuantizeFn quantize;
  TileFn tile;
};

void QuantizeRef(const float* x, int64_t row, const Rows& rows) noexcept;
void TileRef(const TileArgs& args) noexcept;
void QuantizeAvx2(const float* x, int64_t row, const Rows& rows) noexcept;
void TileAvx2(const TileArgs& args) noexcept;
void QuantizeAvx512(const float* x, int64_t row, const Rows& rows) noexcept;
void TileAvx512(const TileArgs& args) noexcept;  // needs AVX-512 VNNI

}  // namespace bitdial::kernels::int8
