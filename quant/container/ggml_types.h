// The tensor types of ggml that we read, and their exact values as f32.
// Source: ggml.h (type numbers) and ggml-common.h (block sizes).
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
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

struct GgmlTypeTraits {
  GgmlType type;
  const char* name;      // "Q4_1"
  int64_t block_values;  // values in a block along the innermost dimension
  int64_t block_bytes;
  // One block to block_values floats (ggml_blocks.h).
  void (*dequantize)(const std::byte* block, float* out);
};

// The fewest bytes a value takes in any type we read are 84 / 256 (Q2_K): no file holds more than
// this many values a byte.
inline constexpr uint64_t kMaxGgmlValuesPerByte = 4;

// nullptr for a type we do not read.
const GgmlTypeTraits* FindGgmlType(uint32_t type);
const GgmlTypeTraits& Traits(GgmlType type);
// "IQ2_XS" also for the types we do not read; "type 99" for numbers ggml does not have.
std::string GgmlTypeName(uint32_t type);
// "F32, F16, ... and BF16": those we read, for messages.
std::string GgmlTypesRead();

// out[i] = value i of `blocks`, num_values in all, with ggml's own order of operations (bit-exact).
// Requires  num_values is a multiple of the type's block_values, blocks.size() == num_values /
// block_values * block_bytes.
void DequantizeGgml(GgmlType type, std::span<const std::byte> blocks, int64_t num_values,
                    float* out);

}  // namespace bitdial::quant
