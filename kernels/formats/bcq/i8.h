// The class of `numerics: int8`, for prompt rows and decode rows alike: 8-bit activations times 8-bit
// sums of scales, exact in integers within a span. POD only.
//
// Since every integer is exact, how it is summed is free: lut4_i8.h looks sums of activations up, which
// suits few rows; dequant_i8.h rebuilds weights for byte products, which suits many. Both are this class.
//
// A span is kMaxSpanInputs inputs of a group, or fewer where the group asks for it (SpanInputs).
// Numeric class "bcq_i8", for row r and output o:
//   y = 0
//   for span ascending, in group g:
//     size  = max(max |x|, max over quads of (|x0| + |x1|) + (|x2| + |x3|), times 127 / 253)
//     x8[i] = rint(x[i] * (127 / size)),  sx = size / 127
//     w8[i] = sum_p ±a8[g, p]                               -127 .. 127
//     y = fma(unit[g], sx * float(sum of w8 * x8), y)
//     y = fma(beta[g], sx * float(sum of x8), y)            no beta: left out
//   y = y + bias
// with a8 and unit from i8_scales.h, floats in fp32. The quads (inputs 4q .. 4q+3) keep the sum of their
// four |x8| within 255, so that every sum a plane can ask of a quad is a byte. An input is off by half
// of sx. A span with an input that is not finite has sx NaN, so the output is NaN, never a wrong
// number; so it is where finite inputs overflow a quad.
// Implementations agree bit for bit, on any processor, and rows do not depend on each other.
#pragma once

#include <cstdint>

#include "kernels/formats/bcq/layout.h"

namespace bitdial::kernels::bcq {

// With more planes the smallest scale would be less than a unit.
inline constexpr int kI8MaxPlanes = 5;

inline constexpr int64_t kQuadInputs = 4;
inline constexpr float kI8QuadShare = 127.0f / 253.0f;  // 253: four roundings add up to 2

// The activations of a row in a span, beside their x8.
struct I8Span {
  float scale;      // sx
  int32_t sum;      // of x8
  int32_t abs_sum;  // of |x8|: at most 255 for each quad
  float input_sum;  // sx * float(sum)
};
BITDIAL_INLINE I8Span MakeI8Span(float scale, int32_t sum, int32_t abs_sum) {
  return {scale, sum, abs_sum, scale * static_cast<float>(sum)};
}

// A largest input up to this counts as zero: far below it 127 / size overflows.
inline constexpr float kI8Tiny = 1e-30f;

// 127 / size; 0 where the span counts as zeros.
BITDIAL_INLINE float I8Inverse(float size) { return size > kI8Tiny ? 127.0f / size : 0.0f; }
BITDIAL_INLINE float I8Scale(float size) { return size > kI8Tiny ? size / 127.0f : 0.0f; }

// A unit as it lies in memory (bf16) as fp32.
BITDIAL_INLINE float I8Unit(uint16_t unit) {
  const uint32_t bits = uint32_t{unit} << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}

}  // namespace bitdial::kernels::bcq
