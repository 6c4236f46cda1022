// The class bcq_i8 (i8.h) by rebuilt weights: bit-planes -> w8 of 64 outputs -> exact int32 products.
// What the driver (dequant_i8_linear.cc) hands to the code compiled for one instruction set. POD only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/formats/bcq/i8.h"

namespace bitdial::kernels::bcq {

inline constexpr int64_t kI8PanelInputs = 512;  // a multiple of every span

// Quantized rows of x. How the inputs of a block of 32 lie in a row is the instruction set's own.
struct I8Rows {
  std::byte* x;     // [num_rows][row_bytes]
  int64_t row_bytes;
  I8Span* spans;    // [num_rows][num_spans]
  int64_t num_spans;  // of a row
  int64_t span_inputs;
};
using I8QuantizeFn = void (*)(const float* x, int64_t row, const I8Rows& rows) noexcept;

// The weights of 64 outputs (a tile) over spans [first_span, first_span + num_spans), up to
// kI8PanelInputs inputs. How they lie is the instruction set's own.
struct I8Panel {
  Layout layout;
  int64_t group_size;
  const uint32_t* codes;
  ScaleView set;
  int64_t tile;
  int64_t span_inputs;
  int64_t first_span;
  int64_t num_spans;
  std::byte* weights;  // written by I8PanelFn, 64-byte aligned

  // Of the panel's span `span`.
  BITDIAL_INLINE int64_t Group(int64_t span) const {
    return (first_span + span) * span_inputs / group_size;
  }
  BITDIAL_INLINE const int8_t* Alpha(int64_t span) const {
    return set.alpha_i8 + layout.AlphaOffset(tile, Group(span), set.bits);
  }
  BITDIAL_INLINE const uint16_t* Unit(int64_t span) const {
    return set.unit + layout.BetaOffset(tile, Group(span));
  }
  BITDIAL_INLINE const uint16_t* Beta(int64_t span) const {
    return set.beta == nullptr ? nullptr : set.beta + layout.BetaOffset(tile, Group(span));
  }
  BITDIAL_INLINE const uint32_t* Codes(int64_t span, int64_t block) const {
    return codes + layout.CodeOffset(tile, 0, Block(span) + block);
  }
  // Words from those to what to fetch meanwhile: as far ahead as a panel reaches, at the end of the
  // tile in the next one. Past the last tile a fetch finds nothing and does no harm.
  BITDIAL_INLINE int64_t Ahead(int64_t span, int64_t block) const {
    constexpr int64_t kBlocks = kI8PanelInputs / kBlockInputs;
    const bool is_near = Block(span) + block + kBlocks < layout.num_blocks;
    return kBlocks * kTileLanes + (is_near ? 0 : layout.tile_stride - layout.plane_stride);
  }
  // The first block of a span, in its tile.
  BITDIAL_INLINE int64_t Block(int64_t span) const {
    return (first_span + span) * span_inputs / kBlockInputs;
  }
};
using I8PanelFn = void (*)(const I8Panel&) noexcept;

// acc[r][64] goes on over the panel's spans, for rows [first_row, first_row + num_rows).
struct I8GemmArgs {
  I8Rows rows;
  int64_t first_row;
  int64_t num_rows;
  I8Panel panel;
  float* acc;  // of first_row, 64-byte aligned

  // Row `row` of the call, at the panel's span `span`.
  BITDIAL_INLINE const I8Span& Span(int64_t row, int64_t span) const {
    return rows.spans[(first_row + row) * rows.num_spans + panel.first_span + span];
  }
};
using I8GemmFn = void (*)(const I8GemmArgs&) noexcept;

struct DequantI8Isa {
  int64_t input_bytes;  // of a quantized input; a weight in a panel takes as many
  I8QuantizeFn quantize;
  I8PanelFn panel;
  I8GemmFn gemm;
};
inline constexpr int64_t kI8MaxInputBytes = 2;

void I8QuantizeRef(const float* x, int64_t row, const I8Rows& rows) noexcept;
void I8PanelRef(const I8Panel& panel) noexcept;
void I8GemmRef(const I8GemmArgs& args) noexcept;
void I8QuantizeAvx2(const float* x, int64_t row, const I8Rows& rows) noexcept;
void I8PanelAvx2(const I8Panel& panel) noexcept;
void I8GemmAvx2(const I8GemmArgs& args) noexcept;
// Need AVX-512 VBMI and VNNI.
void I8QuantizeAvx512(const float* x, int64_t row, const I8Rows& rows) noexcept;
void I8PanelAvx512(const I8Panel& panel) noexcept;
void I8GemmAvx512(const I8GemmArgs& args) noexcept;
// Needs AMX too; rows of x are those of I8QuantizeAvx512. Its panel has no offset.
void I8SignedPanelAvx512(const I8Panel& panel) noexcept;
void I8GemmAmx(const I8GemmArgs& args) noexcept;

}  // namespace bitdial::kernels::bcq
