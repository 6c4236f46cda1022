// LUT-GEMM with int16 tables of 4 inputs, the near-exact decode class: twice as many lookups an
// instruction as lut4.h, and an eighth of the rounding of lut4_i8.h. POD only.
//
// Numeric class "lut4_i16": lut4_int.h with entries up to 1023, so that the 32 lookups of the
// longest span add up in 16 bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/formats/bcq/lut4_int.h"

namespace bitdial::kernels::bcq {

inline constexpr float kI16Largest = 1023.0f;

// Entries: int16 [block][4][2][16], table t of the block at [t % 4][t / 4]: a word's halves hold the
// codes of tables 0..3 and 4..7. On AVX2, uint8 [block][8][2][16]: the low bytes of a table, and its
// high ones.
BITDIAL_INLINE int64_t Lut4I16TableBytes(int64_t group_size) {
  return IntTableBytes<int16_t>(group_size);
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
