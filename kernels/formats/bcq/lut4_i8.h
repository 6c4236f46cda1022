// LUT-GEMM for the class bcq_i8 (i8.h): tables of 4 inputs as in lut4.h, with a byte an entry. POD only.
//
// A quad of x8 has the table E[c] = sum over its inputs of |x8| where bit t of c agrees with the sign of
// input t, and ± x0 ± x1 ± x2 ± x3 = 2 E[c] - (sum of |x8|). So over a span
//   sum of w8 * x8 = 2 * sum_p a8[p] * (sum of lookups of plane p) - (sum_p a8[p]) * abs_sum
// and one accumulator takes the lookups of all planes, each times its a8.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/formats/bcq/i8.h"
#include "kernels/formats/bcq/lut4.h"

namespace bitdial::kernels::bcq {

// The tables of a row in a group: uint8 [block][2][4][16], table t of a block at [t % 2][t / 2],
// because a byte of a code word holds the codes of two tables, t = 2 * byte in its low nibble and the
// next one in its high nibble; then I8Span [span]; then padding to 64 bytes.
inline constexpr int64_t kI8BlockBytes = kTablesPerBlock * kTableEntries;
BITDIAL_INLINE int64_t I8PlaceOfTable(int64_t t) { return (t % 2 * 4 + t / 2) * kTableEntries; }

BITDIAL_INLINE int64_t I8SpanOffset(int64_t group_size) {
  return group_size / kBlockInputs * kI8BlockBytes;
}
BITDIAL_INLINE int64_t Lut4I8TableBytes(int64_t group_size) {
  const int64_t span_bytes =
      group_size / SpanInputs(group_size) * static_cast<int64_t>(sizeof(I8Span));
  return I8SpanOffset(group_size) + (span_bytes + 63) / 64 * 64;
}

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
