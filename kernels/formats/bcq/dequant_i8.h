// Prompt rows of the int8 numerics: bit-planes -> 8-bit weights -> exact int32 dot products. What the
// driver (dequant_i8_linear.cc) hands to the code compiled for one instruction set. POD only.
//
// Numeric class "dequant_i8", for row r and output o, with spans as in lut4_i8:
//   x8[i]  = rint(x[i] * (127 / largest)), sx = largest / 127      largest |x| of the span
//   a16[p] = rint(alpha_p * (127 * 128 / size)), sw = size / 127   size = sum_p |alpha_p| of the group
//   w8[i]  = (sum_p ±a16[p] + 64) >> 7                             -127 .. 127
//   y = 0
//   for span ascending:
//     y = fma(sw, sx * float(sum of w8 * x8), y)
//     y = fma(beta, sx * float(sum of x8), y)                      no beta: left out
//   y = y + bias
// in fp32, sums over planes in ascending order. A weight is off by half of sw, and bits / 256 of it
// more for its alphas; an input by half of sx. A span with an input that is not finite has sx NaN,
// so the output is NaN.
// Implementations agree bit for bit, on any processor, and rows do not depend on each other.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/formats/bcq/layout.h"
#include "kernels/formats/bcq/lut4_i8.h"

namespace bitdial::kernels::bcq {

inline constexpr int kI8FractionBits = 7;     // of a16
inline constexpr int64_t kI8PanelInputs = 512;  // a multiple of every span

// Quantized rows of x. How the inputs of a block of 32 lie in a row is the instruction set's own.
struct I8Rows {
  std::byte* x;     // [num_rows][row_bytes]
  int64_t row_bytes;
  float* scales;    // [num_rows][num_spans], sx
  int32_t* sums;    // [num_rows][num_spans], of x8
  int64_t num_spans;  // of a row
  int64_t span_inputs;
};
using I8QuantizeFn = void (*)(const float* x, int64_t row, const I8Rows& rows) noexcept;

// 64 outputs over up to kI8PanelInputs inputs. How weights lie is the instruction set's own.
struct I8Panel {
  std::byte* weights;  // 64-byte aligned
  float* scales;       // [span][64], sw
  float* betas;        // [span][64]
  bool has_beta;
};
struct I8PanelArgs {
  Layout layout;
  int64_t group_size;
  const uint32_t* codes;
  ScaleView set;
  int64_t tile;
  int64_t span_inputs;
  int64_t first_span;
  int64_t num_spans;
  I8Panel panel;
};
using I8PanelFn = void (*)(const I8PanelArgs&) noexcept;

// acc[r][64] goes on over the panel's spans, for rows [first_row, first_row + num_rows).
struct I8GemmArgs {
  I8Rows rows;
  int64_t first_row;
  int64_t num_rows;
  int64_t first_span;
  int64_t num_spans;
  I8Panel panel;
  float* acc;  // of first_row, 64-byte aligned
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
void I8PanelRef(const I8PanelArgs& args) noexcept;
void I8GemmRef(const I8GemmArgs& args) noexcept;
void I8QuantizeAvx2(const float* x, int64_t row, const I8Rows& rows) noexcept;
void I8PanelAvx2(const I8PanelArgs& args) noexcept;
void I8GemmAvx2(const I8GemmArgs& args) noexcept;
// Need AVX-512 VNNI.
void I8QuantizeAvx512(const float* x, int64_t row, const I8Rows& rows) noexcept;
void I8PanelAvx512(const I8PanelArgs& args) noexcept;
void I8GemmAvx512(const I8GemmArgs& args) noexcept;

}  // namespace bitdial::kernels::bcq
