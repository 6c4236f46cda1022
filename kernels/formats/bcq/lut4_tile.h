// The loops around the lookups, shared by the instruction sets. Included only by lut4_<isa>.cc;
// always inlined, so no copy of it leaves the file that compiled it.
#pragma once

#include "kernels/formats/bcq/lut4.h"

namespace bitdial::kernels::bcq {

// Isa brings
//   kRowBlock        rows whose sums fit in registers beside the codes
//   PlanePass(n, .)  acc += alpha * (sums of one plane over one group), for n <= kRowBlock rows and
//   64 lanes BetaPass(.)      acc += beta * group_sum, one row
//
// Order: group, row block, plane. The tables of a row block (group_size * 16 bytes a row) and the
// group's codes (group_size * 8 bytes a plane) stay in L1 while both loops use them; DRAM gives
// every code once, whatever num_rows.
template <class Isa>
BITDIAL_INLINE int64_t RunLut4Tile(const Lut4Args& a, int64_t tile, float* acc,
                                   int64_t acc_stride) {
  const int64_t num_blocks = a.group_size / kBlockInputs;
  const int64_t table_stride = a.group_size / kTableInputs * kTableEntries;
  for (int64_t r = 0; r < a.num_rows; ++r) {
    for (int64_t lane = 0; lane < kTileLanes; ++lane) acc[r * acc_stride + lane] = 0;
  }
  int64_t num_words = 0;
  for (int64_t group = 0; group < a.layout.num_groups; ++group) {
    for (int64_t first = 0; first < a.num_rows; first += Isa::kRowBlock) {
      const ScaleView* const rows = a.rows + first;
      const float* const tables = a.tables + (group * a.num_rows + first) * table_stride;
      float* const block_acc = acc + first * acc_stride;
      int64_t num_rows = a.num_rows - first < Isa::kRowBlock ? a.num_rows - first : Isa::kRowBlock;
      const int64_t block_rows = num_rows;
      for (int plane = 0; plane < rows[0].bits; ++plane) {
        while (rows[num_rows - 1].bits <= plane) --num_rows;  // rows[0] still has this plane
        const uint16_t* alpha[Isa::kRowBlock];
        for (int64_t r = 0; r < num_rows; ++r) {
          alpha[r] =
              rows[r].alpha + a.layout.AlphaOffset(tile, group, rows[r].bits) + plane * kTileLanes;
        }
        Isa::PlanePass(num_rows, a.codes + a.layout.CodeOffset(tile, plane, group * num_blocks),
                       num_blocks, tables, table_stride, alpha, block_acc, acc_stride);
        if (first == 0) num_words += num_blocks * kTileLanes;
      }
      for (int64_t r = 0; r < block_rows; ++r) {
        if (rows[r].beta == nullptr) continue;
        Isa::BetaPass(rows[r].beta + a.layout.BetaOffset(tile, group),
                      a.group_sums[group * a.num_rows + first + r], block_acc + r * acc_stride);
      }
    }
  }
  return num_words * static_cast<int64_t>(sizeof(uint32_t));
}

}  // namespace bitdial::kernels::bcq
