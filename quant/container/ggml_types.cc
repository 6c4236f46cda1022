#include "quant/container/ggml_types.h"

#include <fmt/format.h>

#include <array>
#include <cstring>

#include "kernels/core/check.h"
#include "kernels/core/dtype.h"

namespace bitdial::quant {
namespace {

constexpr std::array<GgmlTypeTraits, 7> kTypes = {{
    {GgmlType::kF32, "F32", 1, 4},
    {GgmlType::kF16, "F16", 1, 2},
    {GgmlType::kQ4_0, "Q4_0", 32, 18},
    {GgmlType::kQ4_1, "Q4_1", 32, 20},
    {GgmlType::kQ8_0, "Q8_0", 32, 34},
    {GgmlType::kQ6_K, "Q6_K", 256, 210},
    {GgmlType::kBF16, "BF16", 1, 2},
}};

// ggml's type numbers, for messages; empty where ggml removed a type.
constexpr std::array<const char*, 40> kNames = {
    "F32",    "F16",   "Q4_0",  "Q4_1",   "",      "",      "Q5_0",    "Q5_1",   "Q8_0",    "Q8_1",
    "Q2_K",   "Q3_K",  "Q4_K",  "Q5_K",   "Q6_K",  "Q8_K",  "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S",
    "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8",    "I16",   "I32",     "I64",    "F64",     "IQ1_M",
    "BF16",   "",      "",      "",       "TQ1_0", "TQ2_0", "",        "",       "",        "MXFP4",
};

// Unaligned little-endian load.
template <typename T>
T Load(const std::byte* data) {
  T value;
  std::memcpy(&value, data, sizeof(T));
  return value;
}

int Byte(const std::byte* data, int64_t index) { return std::to_integer<int>(data[index]); }

// Block: f16 d, 16 bytes: low nibbles are values 0..15, high nibbles 16..31. value = d (q - 8).
void DequantizeQ4_0(const std::byte* block, float* out) {
  const float d = F16ToF32(Load<uint16_t>(block));
  for (int i = 0; i < 16; ++i) {
    const int packed = Byte(block, 2 + i);
    out[i] = static_cast<float>((packed & 15) - 8) * d;
    out[i + 16] = static_cast<float>((packed >> 4) - 8) * d;
  }
}

// Block: f16 d, f16 m, 16 bytes as in Q4_0. value = d q + m.
void DequantizeQ4_1(const std::byte* block, float* out) {
  const float d = F16ToF32(Load<uint16_t>(block));
  const float m = F16ToF32(Load<uint16_t>(block + 2));
  for (int i = 0; i < 16; ++i) {
    const int packed = Byte(block, 4 + i);
    out[i] = static_cast<float>(packed & 15) * d + m;
    out[i + 16] = static_cast<float>(packed >> 4) * d + m;
  }
}

// Block: f16 d, 32 signed bytes. value = d q.
void DequantizeQ8_0(const std::byte* block, float* out) {
  const float d = F16ToF32(Load<uint16_t>(block));
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(Load<int8_t>(block + 2 + i)) * d;
}

// Block of 256: 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed scales, f16 d.
// Two halves of 128 values; in a half, quarter k holds values 32 k .. 32 k + 31:
//   low nibble of ql[l], ql[l + 32] for k = 0, 1, high nibble for k = 2, 3; bits 2 k, 2 k + 1 of
//   qh[l] above it.
// value = d * scale[half * 8 + 2 k + l / 16] * (q - 32).
void DequantizeQ6_K(const std::byte* block, float* out) {
  const float d = F16ToF32(Load<uint16_t>(block + 208));
  for (int half = 0; half < 2; ++half) {
    const std::byte* ql = block + 64 * half;
    const std::byte* qh = block + 128 + 32 * half;
    const std::byte* scales = block + 192 + 8 * half;
    for (int quarter = 0; quarter < 4; ++quarter) {
      for (int l = 0; l < 32; ++l) {
        const int low = Byte(ql, l + 32 * (quarter & 1)) >> (quarter < 2 ? 0 : 4) & 15;
        const int high = Byte(qh, l) >> (2 * quarter) & 3;
        const auto scale = static_cast<float>(Load<int8_t>(scales + 2 * quarter + l / 16));
        const float q = static_cast<float>((low | high << 4) - 32);
        out[128 * half + 32 * quarter + l] = d * scale * q;
      }
    }
  }
}

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

void DequantizeGgml(GgmlType type, std::span<const std::byte> blocks, int64_t num_values,
                    float* out) {
  const GgmlTypeTraits& traits = Traits(type);
  BITDIAL_CHECK(num_values % traits.block_values == 0);
  const int64_t num_blocks = num_values / traits.block_values;
  BITDIAL_CHECK(static_cast<int64_t>(blocks.size()) == num_blocks * traits.block_bytes);
  const std::byte* block = blocks.data();
  for (int64_t b = 0; b < num_blocks;
       ++b, block += traits.block_bytes, out += traits.block_values) {
    switch (type) {
      case GgmlType::kF32:
        *out = Load<float>(block);
        break;
      case GgmlType::kF16:
        *out = F16ToF32(Load<uint16_t>(block));
        break;
      case GgmlType::kBF16:
        *out = BF16ToF32(Load<uint16_t>(block));
        break;
      case GgmlType::kQ4_0:
        DequantizeQ4_0(block, out);
        break;
      case GgmlType::kQ4_1:
        DequantizeQ4_1(block, out);
        break;
      case GgmlType::kQ8_0:
        DequantizeQ8_0(block, out);
        break;
      case GgmlType::kQ6_K:
        DequantizeQ6_K(block, out);
        break;
    }
  }
}

}  // namespace bitdial::quant
