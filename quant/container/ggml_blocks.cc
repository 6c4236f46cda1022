// In all of these, byte j of the nibbles holds values j (low nibble) and j + 16 (high nibble).
#include "quant/container/ggml_blocks.h"

#include "quant/container/ggml_load.h"

namespace bitdial::quant {
namespace {

int Nibble(const std::byte* nibbles, int i) {
  return LoadByte(nibbles, i % 16) >> (i < 16 ? 0 : 4) & 15;
}

// Bit i of `high` above nibble i.
int FiveBits(uint32_t high, const std::byte* nibbles, int i) {
  return Nibble(nibbles, i) | static_cast<int>(high >> i & 1) << 4;
}

}  // namespace

// f16 d, 16 bytes of nibbles. value = d (q - 8).
void DequantizeQ4_0(const std::byte* block, float* out) {
  const float d = LoadF16(block);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(Nibble(block + 2, i) - 8) * d;
}

// f16 d, f16 m, 16 bytes of nibbles. value = d q + m.
void DequantizeQ4_1(const std::byte* block, float* out) {
  const float d = LoadF16(block);
  const float m = LoadF16(block + 2);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(Nibble(block + 4, i)) * d + m;
}

// f16 d, 32 high bits, 16 bytes of nibbles. value = d (q - 16).
void DequantizeQ5_0(const std::byte* block, float* out) {
  const float d = LoadF16(block);
  const auto high = LoadUnaligned<uint32_t>(block + 2);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(FiveBits(high, block + 6, i) - 16) * d;
}

// f16 d, f16 m, 32 high bits, 16 bytes of nibbles. value = d q + m.
void DequantizeQ5_1(const std::byte* block, float* out) {
  const float d = LoadF16(block);
  const float m = LoadF16(block + 2);
  const auto high = LoadUnaligned<uint32_t>(block + 4);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(FiveBits(high, block + 8, i)) * d + m;
}

// f16 d, 32 signed bytes. value = d q.
void DequantizeQ8_0(const std::byte* block, float* out) {
  const float d = LoadF16(block);
  for (int i = 0; i < 32; ++i)
    out[i] = static_cast<float>(LoadUnaligned<int8_t>(block + 2 + i)) * d;
}

}  // namespace bitdial::quant
