// The block types of ggml as f32, one function a type.
// Source: ggml-common.h (block layouts) and ggml-quants.c (dequantize_row_*).
#pragma once

#include <cstddef>

namespace bitdial::quant {

// Of all: `block` is one block at any alignment, of any bits; `out` takes its values. The
// operations and their order are ggml's, so that values are bit-exact; an infinite or NaN scale
// makes infinite or NaN values. Sizes: the table in ggml_types.cc.

// Blocks of 32 (ggml_blocks.cc).
void DequantizeQ4_0(const std::byte* block, float* out);
void DequantizeQ4_1(const std::byte* block, float* out);
void DequantizeQ5_0(const std::byte* block, float* out);
void DequantizeQ5_1(const std::byte* block, float* out);
void DequantizeQ8_0(const std::byte* block, float* out);

// Blocks of 256 with scales of their own for every 16 or 32 values (ggml_k_blocks.cc).
void DequantizeQ2_K(const std::byte* block, float* out);
void DequantizeQ3_K(const std::byte* block, float* out);
void DequantizeQ4_K(const std::byte* block, float* out);
void DequantizeQ5_K(const std::byte* block, float* out);
void DequantizeQ6_K(const std::byte* block, float* out);

}  // namespace bitdial::quant
