// Each type first unpacks its integers q, then scales them: loops without branches, which the
// compiler vectorizes.
#include "quant/container/ggml_blocks.h"

#include <array>

#include "quant/container/ggml_load.h"

namespace bitdial::quant {
namespace {

using Integers = std::array<uint8_t, 32>;

// Byte j of the nibbles holds values j (low nibble) and j + 16 (high nibble).
Integers Nibbles(const std::byte* nibbles) {
  Integers q;
  for (int j = 0; j < 16; ++j) {
    q[j] = static_cast<uint8_t>(LoadByte(nibbles, j) & 15);
    q[j + 16] = static_cast<uint8_t>(LoadByte(nibbles, j) >> 4);
  }
  return q;
}

// Bit i of four bytes above nibble i.
Integers FiveBits(const std::byte* high, const std::byte* nibbles) {
  Integers q = Nibbles(nibbles);
  const auto bits = LoadUnaligned<uint32_t>(high);
  for (int i = 0; i < 32; ++i) q[i] |= static_cast<uint8_t>((bits >> i & 1) << 4);
  return q;
}

// out = d (q - zero)
void Scale(const Integers& q, int zero, float d, float* out) {
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(q[i] - zero) * d;
}

// out = d q + m
void ScaleAndShift(const Integers& q, float d, float m, float* out) {
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(q[i]) * d + m;
}

}  // namespace

// f16 d, 16 bytes of nibbles. value = d (q - 8).
void DequantizeQ4_0(const std::byte* block, float* out) {
  Scale(Nibbles(block + 2), 8, LoadF16(block), out);
}

// f16 d, f16 m, 16 bytes of nibbles. value = d q + m.
void DequantizeQ4_1(const std::byte* block, float* out) {
  ScaleAndShift(Nibbles(block + 4), LoadF16(block), LoadF16(block + 2), out);
}

// f16 d, 32 high bits, 16 bytes of nibbles. value = d (q - 16).
void DequantizeQ5_0(const std::byte* block, float* out) {
  Scale(FiveBits(block + 2, block + 6), 16, LoadF16(block), out);
}

// f16 d, f16 m, 32 high bits, 16 bytes of nibbles. value = d q + m.
void DequantizeQ5_1(const std::byte* block, float* out) {
  ScaleAndShift(FiveBits(block + 4, block + 8), LoadF16(block), LoadF16(block + 2), out);
}

// f16 d, 32 signed bytes. value = d q.
void DequantizeQ8_0(const std::byte* block, float* out) {
  const float d = LoadF16(block);
  for (int i = 0; i < 32; ++i)
    out[i] = static_cast<float>(LoadUnaligned<int8_t>(block + 2 + i)) * d;
}

}  // namespace bitdial::quant
