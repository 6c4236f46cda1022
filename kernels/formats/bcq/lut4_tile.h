// The loops around the lookups, shared by the instruction sets. Included only by files that
// compile a class of lut4; always inlined, so no copy of it leaves them.
#pragma once

#include "kernels/formats/bcq/lut4.h"

namespace bitdial::kernels::bcq {

// Blocks fetched ahead of use, into L2: a tile walks one stream a plane, a group at a time, too short
// a run for the hardware prefetchers, and every plane of a tile begins on a cold page. On a Zen 4 core
// (4096 inputs, 4 bits, beside a read pass of 22 GB/s): 8 blocks into L1 and nothing beyond a tile 14.7
// GB/s, with the next tile 17, 16 blocks into L2 22. Never into the planes beyond those asked for.
inline constexpr int64_t kPrefetchBlocks = 16;

// The same for scales, which lie in order across tiles.
inline constexpr int64_t kPrefetchGroups = 4;
BITDIAL_INLINE void FetchScales(const uint16_t* lanes) {
  __builtin_prefetch(lanes, 0, 2);
  __builtin_prefetch(lanes + kTileLanes / 2, 0, 2);
}

// Planes [begin_plane, end_plane) over one group, for the first rows of a row block: for each plane,
// acc += alpha * (sum of lookups).
struct PlanePass {
  int64_t begin_plane, end_plane;
  const uint32_t* codes;  // of plane 0
  int64_t plane_stride;   // words
  int64_t num_blocks;    // of the group
  int64_t num_near;     // so many first blocks have kPrefetchBlocks more behind them in the plane
  int64_t far_words;    // from one of the others to what to fetch, in the same plane of the next tile
  const std::byte* tables;   // of the first row
  int64_t table_stride;      // bytes from one row to the next
  const uint16_t* alpha[4];  // [row] -> [plane][64 lanes]
  bool is_one_set;           // alpha[0] is every row's: a conversion from f16 serves them all
  float* acc;                // [row][64]
  int64_t acc_stride;

  // The block to fetch while block `block` of the group, at `words`, is used.
  BITDIAL_INLINE const uint32_t* Ahead(int64_t block, const uint32_t* words) const {
    return words + (block < num_near ? kPrefetchBlocks * kTileLanes : far_words);
  }
};

// num_rows: 1 to Isa::kRowBlock.
template <class Isa, class Pass>
BITDIAL_INLINE void RunRows(int64_t num_rows, const Pass& pass) {
  static_assert(Isa::kRowBlock == 1 || Isa::kRowBlock == 4);
  if constexpr (Isa::kRowBlock == 4) {
    if (num_rows == 4) return Isa::template Run<4>(pass);
    if (num_rows == 3) return Isa::template Run<3>(pass);
    if (num_rows == 2) return Isa::template Run<2>(pass);
  }
  Isa::template Run<1>(pass);
}

// Isa brings kRowBlock (rows whose sums fit in registers beside the codes: 4, or 1),
// Run<num_rows>(pass), and Beta(beta, group_sums, num_rows, acc, acc_stride), which does acc += beta *
// group_sums[row] for the 64 lanes of each row.
//
// Order: group, row block, plane. The tables of a row block and the codes of a group (group_size * 8
// bytes a plane) stay in L1 while both inner loops use them; DRAM gives every code once, whatever
// num_rows. All planes of a group are one call: with groups of 32 the call, and where each row's
// alpha begins, cost as much as the lookups. Eight rows to half a tile were no faster than four to a
// whole one.
template <class Isa>
BITDIAL_INLINE int64_t RunLut4Tile(const Lut4Args& a, int64_t tile, float* acc,
                                   int64_t acc_stride) {
  const int64_t blocks_per_group = a.group_size / kBlockInputs;
  for (int64_t r = 0; r < a.num_rows; ++r) {
    for (int64_t lane = 0; lane < kTileLanes; ++lane) acc[r * acc_stride + lane] = 0;
  }
  const bool has_next = tile + 1 < a.layout.num_tiles && a.layout.num_blocks >= kPrefetchBlocks;
  const int64_t far_words =
      has_next ? a.layout.tile_stride - a.layout.plane_stride + kPrefetchBlocks * kTileLanes : 0;
  int64_t num_words = 0;
  for (int64_t group = 0; group < a.layout.num_groups; ++group) {
    const int64_t first_block = group * blocks_per_group;
    for (int64_t first = 0; first < a.num_rows; first += Isa::kRowBlock) {
      const ScaleView* const rows = a.rows + first;
      const int64_t block_rows =
          a.num_rows - first < Isa::kRowBlock ? a.num_rows - first : Isa::kRowBlock;
      PlanePass pass;
      pass.num_blocks = blocks_per_group;
      pass.plane_stride = a.layout.plane_stride;
      pass.num_near = a.layout.num_blocks - kPrefetchBlocks - first_block;
      pass.far_words = far_words;
      pass.tables = a.tables + a.TableOffset(group, first);
      pass.table_stride = a.table_bytes;
      pass.acc = acc + first * acc_stride;
      pass.acc_stride = acc_stride;
      pass.is_one_set = true;
      for (int64_t r = 0; r < Isa::kRowBlock; ++r) {
        const ScaleView& row = rows[r < block_rows ? r : 0];
        pass.alpha[r] = row.alpha + a.layout.AlphaOffset(tile, group, row.bits);
        pass.is_one_set &= row.alpha == rows[0].alpha;
      }
      pass.codes = a.codes + a.layout.CodeOffset(tile, 0, first_block);
      // Rows with as many planes take them together, and drop out when theirs end.
      int64_t num_rows = block_rows;
      for (pass.begin_plane = 0; pass.begin_plane < rows[0].bits; pass.begin_plane = pass.end_plane) {
        while (rows[num_rows - 1].bits <= pass.begin_plane) --num_rows;
        pass.end_plane = rows[num_rows - 1].bits;
        for (int64_t plane = pass.begin_plane; plane < pass.end_plane; ++plane) {
          FetchScales(pass.alpha[0] + (kPrefetchGroups * rows[0].bits + plane) * kTileLanes);
        }
        RunRows<Isa>(num_rows, pass);
      }
      if (first == 0) num_words += rows[0].bits * blocks_per_group * kTileLanes;
      for (int64_t r = 0, count = 0; r < block_rows; r += count) {
        for (count = 1; r + count < block_rows && rows[r + count].beta == rows[r].beta;) ++count;
        if (rows[r].beta == nullptr) continue;
        const uint16_t* const beta = rows[r].beta + a.layout.BetaOffset(tile, group);
        FetchScales(beta + kPrefetchGroups * kTileLanes);
        Isa::Beta(beta, a.group_sums + group * a.num_rows + first + r, count,
                  pass.acc + r * acc_stride, acc_stride);
      }
    }
  }
  return num_words * static_cast<int64_t>(sizeof(uint32_t));
}

}  // namespace bitdial::kernels::bcq
