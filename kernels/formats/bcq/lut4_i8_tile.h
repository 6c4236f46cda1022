// The loops around the lookups of the class bcq_i8, shared by the instruction sets. Included only by
// i8_ref.cc and lut4_i8_<isa>.cc; always inlined, so no copy of it leaves the file that compiled it.
#pragma once

#include "kernels/formats/bcq/lut4_i8.h"
#include "kernels/formats/bcq/lut4_tile.h"

namespace bitdial::kernels::bcq {

// All planes of a span for up to 4 rows of one set: acc goes on over the span as i8.h says.
struct I8Pass {
  const uint32_t* codes;  // of plane 0, at the span
  int64_t plane_stride;   // words
  int64_t num_blocks;     // of the span
  int64_t num_near;       // as in PlanePass
  int64_t far_words;
  const std::byte* tables;  // of the first row, at the span
  const I8Span* span;       // likewise
  int64_t row_bytes;        // from one row's tables, or span, to the next one's
  const int8_t* alpha;      // [plane][64]
  int bits;
  const uint16_t* unit;  // [64]
  const uint16_t* beta;  // [64] or null
  float* acc;            // [row][64]
  int64_t acc_stride;

  BITDIAL_INLINE const uint32_t* Ahead(int64_t block, const uint32_t* words) const {
    return words + (block < num_near ? kPrefetchBlocks * kTileLanes : far_words);
  }
  BITDIAL_INLINE const std::byte* Tables(int64_t row, int64_t block) const {
    return tables + row * row_bytes + block * kI8BlockBytes;
  }
  BITDIAL_INLINE const I8Span& Span(int64_t row) const {
    return *reinterpret_cast<const I8Span*>(reinterpret_cast<const std::byte*>(span) +
                                            row * row_bytes);
  }
};

// The scales of a later group, which lie in order across tiles.
BITDIAL_INLINE void FetchScales(const I8Pass& pass) {
  const int8_t* const alpha = pass.alpha + kPrefetchGroups * pass.bits * kTileLanes;
  for (int p = 0; p < pass.bits; ++p) __builtin_prefetch(alpha + p * kTileLanes, 0, 2);
  FetchScales(pass.unit + kPrefetchGroups * kTileLanes);
  if (pass.beta != nullptr) FetchScales(pass.beta + kPrefetchGroups * kTileLanes);
}

// Isa brings kRowBlock (4, or 1) and Run<num_rows>(const I8Pass&).
//
// Order: group, rows of one set, span. Codes of a group stay in L1 while every row uses them.
template <class Isa>
BITDIAL_INLINE int64_t RunI8Tile(const Lut4Args& a, int64_t tile, float* acc, int64_t acc_stride) {
  const int64_t span_inputs = SpanInputs(a.group_size);
  const int64_t span_blocks = span_inputs / kBlockInputs;
  const int64_t blocks_per_group = a.group_size / kBlockInputs;
  for (int64_t r = 0; r < a.num_rows; ++r) {
    for (int64_t lane = 0; lane < kTileLanes; ++lane) acc[r * acc_stride + lane] = 0;
  }
  const bool has_next = tile + 1 < a.layout.num_tiles && a.layout.num_blocks >= kPrefetchBlocks;
  I8Pass pass;
  pass.plane_stride = a.layout.plane_stride;
  pass.num_blocks = span_blocks;
  pass.far_words =
      has_next ? a.layout.tile_stride - a.layout.plane_stride + kPrefetchBlocks * kTileLanes : 0;
  pass.row_bytes = a.table_bytes;
  pass.acc_stride = acc_stride;
  for (int64_t group = 0; group < a.layout.num_groups; ++group) {
    for (int64_t first = 0, count = 0; first < a.num_rows; first += count) {
      const ScaleView& set = a.rows[first];
      for (count = 1; count < Isa::kRowBlock && first + count < a.num_rows;) {
        if (a.rows[first + count].alpha_i8 != set.alpha_i8) break;
        ++count;
      }
      pass.alpha = set.alpha_i8 + a.layout.AlphaOffset(tile, group, set.bits);
      pass.bits = set.bits;
      pass.unit = set.unit + a.layout.BetaOffset(tile, group);
      pass.beta = set.beta == nullptr ? nullptr : set.beta + a.layout.BetaOffset(tile, group);
      pass.acc = acc + first * acc_stride;
      FetchScales(pass);
      const std::byte* const tables = a.tables + a.TableOffset(group, first);
      const auto* const spans = reinterpret_cast<const I8Span*>(tables + I8SpanOffset(a.group_size));
      for (int64_t block = 0, span = 0; block < blocks_per_group; block += span_blocks, ++span) {
        const int64_t at = group * blocks_per_group + block;
        pass.codes = a.codes + a.layout.CodeOffset(tile, 0, at);
        pass.num_near = a.layout.num_blocks - kPrefetchBlocks - at;
        pass.tables = tables + block * kI8BlockBytes;
        pass.span = spans + span;
        RunRows<Isa>(count, pass);
      }
    }
  }
  return a.rows[0].bits * a.layout.num_blocks * kTileLanes * static_cast<int64_t>(sizeof(uint32_t));
}

}  // namespace bitdial::kernels::bcq
