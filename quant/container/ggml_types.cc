#include "quant/container/ggml_types.h"

#include <fmt/format.h>

#include <array>

#include "kernels/core/check.h"
#include "kernels/core/dtype.h"
#include "quant/container/ggml_blocks.h"
#include "quant/container/ggml_load.h"

namespace bitdial::quant {
namespace {

void CopyF32(const std::byte* value, float* out) { *out = LoadUnaligned<float>(value); }
void CopyF16(const std::byte* value, float* out) { *out = LoadF16(value); }
void CopyBF16(const std::byte* value, float* out) {
  *out = BF16ToF32(LoadUnaligned<uint16_t>(value));
}

constexpr std::array<GgmlTypeTraits, 13> kTypes = {{
    {GgmlType::kF32, "F32", 1, 4, CopyF32},
    {GgmlType::kF16, "F16", 1, 2, CopyF16},
    {GgmlType::kBF16, "BF16", 1, 2, CopyBF16},
    {GgmlType::kQ4_0, "Q4_0", 32, 18, DequantizeQ4_0},
    {GgmlType::kQ4_1, "Q4_1", 32, 20, DequantizeQ4_1},
    {GgmlType::kQ5_0, "Q5_0", 32, 22, DequantizeQ5_0},
    {GgmlType::kQ5_1, "Q5_1", 32, 24, DequantizeQ5_1},
    {GgmlType::kQ8_0, "Q8_0", 32, 34, DequantizeQ8_0},
    {GgmlType::kQ2_K, "Q2_K", 256, 84, DequantizeQ2_K},
    {GgmlType::kQ3_K, "Q3_K", 256, 110, DequantizeQ3_K},
    {GgmlType::kQ4_K, "Q4_K", 256, 144, DequantizeQ4_K},
    {GgmlType::kQ5_K, "Q5_K", 256, 176, DequantizeQ5_K},
    {GgmlType::kQ6_K, "Q6_K", 256, 210, DequantizeQ6_K},
}};

constexpr bool EveryTypeIsWithinValuesPerByte() {
  for (const GgmlTypeTraits& type : kTypes) {
    const auto limit = static_cast<int64_t>(kMaxGgmlValuesPerByte) * type.block_bytes;
    if (type.block_values > limit) return false;
  }
  return true;
}
static_assert(EveryTypeIsWithinValuesPerByte());

// ggml's type numbers, for messages; empty where ggml removed a type.
constexpr std::array<const char*, 40> kNames = {
    "F32",    "F16",   "Q4_0",  "Q4_1",   "",      "",      "Q5_0",    "Q5_1",   "Q8_0",    "Q8_1",
    "Q2_K",   "Q3_K",  "Q4_K",  "Q5_K",   "Q6_K",  "Q8_K",  "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S",
    "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8",    "I16",   "I32",     "I64",    "F64",     "IQ1_M",
    "BF16",   "",      "",      "",       "TQ1_0", "TQ2_0", "",        "",       "",        "MXFP4",
};

}  // namespace

const GgmlTypeTraits* FindGgmlType(uint32_t type) {
  for (const GgmlTypeTraits& traits : kTypes) {
    if (static_cast<uint32_t>(traits.type) == type) return &traits;
  }
  return nullptr;
}

const GgmlTypeTraits& Traits(GgmlType type) {
  const GgmlTypeTraits* traits = FindGgmlType(static_cast<uint32_t>(type));
  BITDIAL_CHECK(traits != nullptr);
  return *traits;
}

std::string GgmlTypeName(uint32_t type) {
  if (type < kNames.size() && kNames[type][0] != '\0') return kNames[type];
  return fmt::format("type {}", type);
}

std::string GgmlTypesRead() {
  std::string names;
  for (size_t i = 0; i < kTypes.size(); ++i) {
    if (i > 0) names += i + 1 < kTypes.size() ? ", " : " and ";
    names += kTypes[i].name;
  }
  return names;
}

void DequantizeGgml(GgmlType type, std::span<const std::byte> blocks, int64_t num_values,
                    float* out) {
  const GgmlTypeTraits& traits = Traits(type);
  BITDIAL_CHECK(num_values % traits.block_values == 0);
  const int64_t num_blocks = num_values / traits.block_values;
  BITDIAL_CHECK(static_cast<int64_t>(blocks.size()) == num_blocks * traits.block_bytes);
  const std::byte* block = blocks.data();
  for (int64_t b = 0; b < num_blocks; ++b) {
    traits.dequantize(block, out);
    block += traits.block_bytes;
    out += traits.block_values;
  }
}

}  // namespace bitdial::quant
