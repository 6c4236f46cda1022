// Where the words of a BcqWeight lie. POD only: files compiled with ISA flags include this header.
//
// The canonical tensors are out_features-contiguous over the whole matrix, so one output's next
// word is a power of two away and every 64 outputs touch another page. The kernel layout is the
// same words, tile by tile:
//
//   codes   u32 [out_tile][plane][k-block][64 lanes]
//
//     out_tile 0                                                      out_tile 1
//     |- plane 0 ----------------------------|- plane 1 ----| ...     |- plane 0 ---
//     |- block 0 ----------|- block 1 -| ... |
//     |w0|w1| ...      |w63|
//       ^ lane 1 of the tile: the 32 signs of output 64 * tile + 1, inputs 32 * block .. + 31,
//         bit t (LSB first) is input 32 * block + t, 1 means +1
//
//   alpha   f16 [out_tile][group][plane < bits][64 lanes]     one tensor for each stored set
//   beta    f16 [out_tile][group][64 lanes]                   absent when all zero
//
//   alpha_i8  int8 [out_tile][group][plane < bits][64 lanes]  instead of alpha, or beside it, where
//   unit      bf16 [out_tile][group][64 lanes]                kernels of the class bcq_i8 run (i8.h)
//
// Why so: a kernel that reads `bits` planes of a tile walks `bits` sequential streams and touches
// no cache line of the other planes (planes interleaved group by group cost 1.9 times as much when
// 2 of 4 were read). The lanes of a vector register are outputs, so no sum is ever taken across
// lanes, and a word is eight 4-bit table indices as it stands. Lanes past out_features hold zero
// codes, alpha and beta.
#pragma once

#include <cstdint>

#include "kernels/core/view.h"

namespace bitdial::kernels::bcq {

inline constexpr int64_t kTileLanes = 64;    // outputs of a tile
inline constexpr int64_t kBlockInputs = 32;  // inputs of a word
inline constexpr int kMaxBits = 8;

struct Layout {
  int64_t num_tiles;
  int64_t num_blocks;    // in_features / 32
  int64_t num_groups;    // in_features / group_size
  int64_t plane_stride;  // words from one plane of a tile to the next
  int64_t tile_stride;   // words from one tile to the next

  BITDIAL_INLINE int64_t CodeOffset(int64_t tile, int64_t plane, int64_t block) const {
    return tile * tile_stride + plane * plane_stride + block * kTileLanes;
  }
  BITDIAL_INLINE int64_t AlphaOffset(int64_t tile, int64_t group, int bits) const {
    return (tile * num_groups + group) * bits * kTileLanes;
  }
  BITDIAL_INLINE int64_t BetaOffset(int64_t tile, int64_t group) const {
    return (tile * num_groups + group) * kTileLanes;
  }
};

// The (alpha, beta) set a row uses.
struct ScaleView {
  const uint16_t* alpha;   // f16; null where only those below are kept
  const uint16_t* beta;    // f16, null: zeros
  const int8_t* alpha_i8;  // null where no kernel reads them
  const uint16_t* unit;    // bf16, likewise
  int bits;                // planes read: those of the set, whatever was asked for
};

inline constexpr int64_t kMaxSpanInputs = 128;

// Inputs that share a scale where activations are rounded: 128, 64 or 32, the largest that divides
// group_size, a multiple of 32.
BITDIAL_INLINE int64_t SpanInputs(int64_t group_size) {
  return group_size % 128 == 0 ? 128 : group_size % 64 == 0 ? 64 : 32;
}

BITDIAL_INLINE Layout MakeLayout(int64_t in_features, int64_t out_features, int64_t group_size,
                                 int max_bits) {
  Layout layout = {};
  layout.num_tiles = (out_features + kTileLanes - 1) / kTileLanes;
  layout.num_blocks = in_features / kBlockInputs;
  layout.num_groups = in_features / group_size;
  layout.plane_stride = layout.num_blocks * kTileLanes;
  layout.tile_stride = layout.plane_stride * max_bits;
  return layout;
}

}  // namespace bitdial::kernels::bcq
