// The tensor types of ggml that we read, and their exact values as f32.
// Source: ggml-common.h (block layouts) and ggml-quants.c (dequantize_row_*).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace bitdial::quant {

// The numbers are the file format's.
enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ8_0 = 8,
  kQ6_K = 14,
  kBF16 = 30,
};

struct GgmlTypeTraits {
  GgmlType type;
  const char* name;      // "Q4_1"
  int64_t block_values;  // values in a block along the innermost dimension
  int64_t block_bytes;
};

// nullptr for a type we do not read.
const GgmlTypeTraits* FindGgmlType(uint32_t type);
const GgmlTypeTraits& Traits(GgmlType type);
// "Q4_K" also for the types we do not read; "type 99" for numbers ggml does not have.
std::string GgmlTypeName(uint32_t type);

// out[i] = value i of `blocks`, num_values in all, with ggml's own order of operations (bit-exact).
// Requires  num_values is a multiple of the type's block_values, blocks.size() == num_values /
// block_values * block_bytes.
void DequantizeGgml(GgmlType type, std::span<const std::byte> blocks, int64_t num_values,
                    float* out);

}  // namespace bitdial::quant
