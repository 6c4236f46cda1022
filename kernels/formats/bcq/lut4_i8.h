// LUT-GEMM with int8 tables of 4 inputs, the fast decode class: four times as many lookups an
// instruction as lut4.h, at the price of rounding the tables. POD only.
//
// Numeric class "lut4_i8": lut4_int.h with entries up to 127.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/formats/bcq/lut4_int.h"

namespace bitdial::kernels::bcq {

inline constexpr float kI8Largest = 127.0f;

// Entries: int8 [block][2][4][16], table t of the block at [t % 2][t / 2], because a byte of a code
// word holds the codes of two tables, t = 2 * byte in its low nibble and the next one in its high
// nibble.
BITDIAL_INLINE int64_t Lut4I8TableBytes(int64_t group_size) {
  return IntTableBytes<int8_t>(group_size);
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
