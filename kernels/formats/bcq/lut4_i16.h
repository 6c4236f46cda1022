// LUT-GEMM with int16 tables of 4 inputs, the near-exact decode class: twice as many lookups an
// instruction as lut4.h, in tables rounded to 11 bits. POD only.
//
// A span is kMaxSpanInputs inputs of a group, or fewer where the group asks for it (SpanInputs).
// All tables of a span share one scale, the largest |entry| over 1023, as the blocks of 8-bit
// activations do elsewhere; an entry is off by at most half a scale. Sums within a span are exact
// integers: with entries up to 1023, the 32 lookups of the longest span add up in 16 bits.
//
// Numeric class "lut4_i16", for row r and output o:
//   y = 0
//   for group g ascending:
//     for plane p < bits ascending:
//       u = 0
//       for span of g ascending: u = fma(scale, float(sum of the span's N[code]), u)
//       y = fma(alpha, u, y)
//     y = fma(beta, s, y), s = chain of T[15] over the group as in lut4_f32    no beta: left out
//   y = y + bias
// with T[c] = ((±x0 ± x1) ± x2) ± x3 and N[c] = rint(T[c] * (1023 / max|T|)), all in fp32. A group
// with an input that is not finite has scales NaN: the output is NaN, never a wrong number; where
// finite inputs overflow a table, it is infinite or NaN.
// Implementations agree bit for bit, on any processor, and rows do not depend on each other.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/formats/bcq/lut4.h"

namespace bitdial::kernels::bcq {

inline constexpr float kI16Largest = 1023.0f;

// A largest entry up to this counts as zero: 1023 / max|T| would overflow.
inline constexpr float kI16Tiny = 1e-30f;

// The tables of a row in a group: int16 [block][4][2][16], table t of a block at [t % 4][t / 4],
// because a word's halves hold the codes of tables 0..3 and 4..7 (on AVX2, uint8 [block][8][2][16]:
// the low bytes of a table, and its high ones); then float [span], the scales; then padding to 64
// bytes.
inline constexpr int64_t kI16BlockBytes =
    kTablesPerBlock * kTableEntries * static_cast<int64_t>(sizeof(int16_t));

BITDIAL_INLINE int64_t I16ScaleOffset(int64_t group_size) {
  return group_size / kBlockInputs * kI16BlockBytes;
}
BITDIAL_INLINE int64_t Lut4I16TableBytes(int64_t group_size) {
  const int64_t scale_bytes =
      group_size / SpanInputs(group_size) * static_cast<int64_t>(sizeof(float));
  return I16ScaleOffset(group_size) + (scale_bytes + 63) / 64 * 64;
}

void Lut4I16BuildRef(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                     std::byte* tables, float* group_sums) noexcept;
int64_t Lut4I16TileRef(const Lut4Args& args, int64_t tile, float* acc, int64_t acc_stride) noexcept;
void Lut4I16BuildAvx2(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                      std::byte* tables, float* group_sums) noexcept;
int64_t Lut4I16TileAvx2(const Lut4Args& args, int64_t tile, float* acc,
                        int64_t acc_stride) noexcept;
void Lut4I16BuildAvx512(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                        std::byte* tables, float* group_sums) noexcept;
int64_t Lut4I16TileAvx512(const Lut4Args& args, int64_t tile, float* acc,
                          int64_t acc_stride) noexcept;

}  // namespace bitdial::kernels::bcq
