// LUT-GEMM with tables of 4 inputs: what the driver (lut4_linear.cc) hands to the code compiled for
// one instruction set. Here the exact class, with fp32 tables (lut4_avx2.cc, lut4_avx512.cc); the
// near-exact one, with int16 tables, is in lut4_i16.h; the fast one, with tables of bytes, in lut4_i8.h
// (its class in i8.h). POD only.
//
// For 4 inputs x0..x3 the table T[c] = ((±x0 ± x1) ± x2) ± x3, bit t of c choosing the sign of xt,
// holds every sum a plane can ask for. A word of a plane is eight such c, so 32 multiply-adds
// become 8 lookups and additions, and one set of tables serves every output and every plane.
//
// Numeric class "lut4_f32", for row r and output o:
//   y = 0
//   for group g ascending:
//     for plane p < bits ascending:
//       s = T[code] of the group's tables, added up in order from +0
//       y = fma(alpha, s, y)
//     y = fma(beta, T[15] of the group's tables added up likewise, y)    no beta: left out
//   y = y + bias
// Every step is one fp32 rounding in a fixed order, so all implementations agree bit for bit, and
// nothing depends on the other rows of the call.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/formats/bcq/layout.h"

namespace bitdial::kernels::bcq {

inline constexpr int64_t kTableInputs = 4;
inline constexpr int64_t kTableEntries = 16;
inline constexpr int64_t kTablesPerBlock = kBlockInputs / kTableInputs;

struct Lut4Args {
  Layout layout;
  int64_t group_size;
  const uint32_t* codes;
  const ScaleView* rows;  // [num_rows], bits descending
  int64_t num_rows;
  int64_t table_bytes;      // of one row in one group, a multiple of 64
  const std::byte* tables;  // [num_groups][num_rows][table_bytes], 64-byte aligned
  const float* group_sums;  // [num_groups][num_rows]

  BITDIAL_INLINE int64_t TableOffset(int64_t group, int64_t row) const {
    return (group * num_rows + row) * table_bytes;
  }
};

// Builds the tables and the sum of row `row` in group `group` from x [group_size], the group's inputs.
using Lut4BuildFn = void (*)(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                             std::byte* tables, float* group_sums) noexcept;

// acc[r * acc_stride + lane] = y without bias, for the 64 outputs of a tile and every row. Returns
// the bytes of codes read: each word of planes 0 .. max(bits)-1 counts once, a second row block
// finds them in L1.
using Lut4TileFn = int64_t (*)(const Lut4Args& args, int64_t tile, float* acc,
                               int64_t acc_stride) noexcept;

struct Lut4Isa {
  int64_t (*table_bytes)(int64_t group_size);
  Lut4BuildFn build;
  Lut4TileFn tile;
};

// fp32: [group_size / 4][16].
BITDIAL_INLINE int64_t Lut4TableBytes(int64_t group_size) {
  return group_size / kTableInputs * kTableEntries * static_cast<int64_t>(sizeof(float));
}

void Lut4BuildAvx2(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                   std::byte* tables, float* group_sums) noexcept;
int64_t Lut4TileAvx2(const Lut4Args& args, int64_t tile, float* acc, int64_t acc_stride) noexcept;
void Lut4BuildAvx512(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                     std::byte* tables, float* group_sums) noexcept;
int64_t Lut4TileAvx512(const Lut4Args& args, int64_t tile, float* acc, int64_t acc_stride) noexcept;

}  // namespace bitdial::kernels::bcq
