// LUT-GEMM with int8 tables of 4 inputs, the fast decode class: four times as many lookups an
// instruction as lut4.h, at the price of rounding the tables. POD only.
//
// A span is kMaxSpanInputs inputs of a group, or fewer where the group asks for it (SpanInputs).
// All tables of a span share one scale, the largest |entry| over 127, as the blocks of 8-bit
// activations do elsewhere; an entry is off by at most half a scale. Sums within a span are exact
// integers.
//
// Numeric class "lut4_i8", for row r and output o:
//   y = 0
//   for group g ascending:
//     for plane p < bits ascending:
//       u = 0
//       for span of g ascending: u = fma(scale, float(sum of the span's T8[code]), u)
//       y = fma(alpha, u, y)
//     y = fma(beta, s, y), s = chain of T[15] over the group as in lut4_f32    no beta: left out
//   y = y + bias
// with T[c] = ((±x0 ± x1) ± x2) ± x3 and T8[c] = rint(T[c] * (127 / largest)), all in fp32. A group
// with an input that is not finite has scales NaN: the output is NaN, never a wrong number; where
// finite inputs overflow a table, it is infinite or NaN.
// Implementations agree bit for bit, on any processor, and rows do not depend on each other.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/formats/bcq/lut4.h"

namespace bitdial::kernels::bcq {

inline constexpr int64_t kMaxSpanInputs = 128;

// 128, 64 or 32: the largest that divides group_size, a multiple of 32.
BITDIAL_INLINE int64_t SpanInputs(int64_t group_size) {
  return group_size % 128 == 0 ? 128 : group_size % 64 == 0 ? 64 : 32;
}

// The tables of a row in a group:
//   int8   [block of 32 inputs][2][4][16]: table t of the block is at [t % 2][t / 2], because a
//   byte
//          of a code word holds the codes of two tables, t = 2 * byte in its low nibble and the
//          next one in its high nibble
//   float  [span], the scales; then padding to 64 bytes
inline constexpr int64_t kI8BlockBytes = kTablesPerBlock * kTableEntries;
BITDIAL_INLINE int64_t Lut4I8ScaleOffset(int64_t group_size) {
  return group_size / kBlockInputs * kI8BlockBytes;
}
BITDIAL_INLINE int64_t Lut4I8TableBytes(int64_t group_size) {
  const int64_t scale_bytes =
      group_size / SpanInputs(group_size) * static_cast<int64_t>(sizeof(float));
  return Lut4I8ScaleOffset(group_size) + (scale_bytes + 63) / 64 * 64;
}

// A largest entry up to this counts as zero: 127 / largest would overflow.
inline constexpr float kLut4I8Tiny = 1e-30f;

void Lut4I8BuildRef(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                    std::byte* tables, float* group_sums) noexcept;
int64_t Lut4I8TileRef(const Lut4Args& args, int64_t tile, float* acc, int64_t acc_stride) noexcept;
void Lut4I8BuildAvx2(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                     std::byte* tables, float* group_sums) noexcept;
int64_t Lut4I8TileAvx2(const Lut4Args& args, int64_t tile, float* acc, int64_t acc_stride) noexcept;
// Needs AVX-512 VBMI and VNNI.
void Lut4I8BuildAvx512(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                       std::byte* tables, float* group_sums) noexcept;
int64_t Lut4I8TileAvx512(const Lut4Args& args, int64_t tile, float* acc,
                         int64_t acc_stride) noexcept;

}  // namespace bitdial::kernels::bcq
