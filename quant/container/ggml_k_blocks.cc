// A block of 256 is two halves of 128. Its groups of 16 or 32 have integer scales (and minima) of
// their own, times f16 factors of the block.
#include "quant/container/ggml_blocks.h"
#include "quant/container/ggml_load.h"

namespace bitdial::quant {
namespace {

// Value i of 64 bytes of bit pairs: each half has 32 bytes, each of which holds four values 32
// apart.
int BitPair(const std::byte* pairs, int i) {
  return LoadByte(pairs, 32 * (i / 128) + i % 32) >> (2 * (i % 128 / 32)) & 3;
}

// Value i of 32 bytes of single bits: bit i / 32 of byte i % 32.
int SingleBit(const std::byte* bits, int i) { return LoadByte(bits, i % 32) >> (i / 32) & 1; }

// Value i of 128 bytes of nibbles (Q4_K, Q5_K): each 32 bytes hold two groups of 32, low nibbles
// first.
int NibbleOf64(const std::byte* nibbles, int i) {
  return LoadByte(nibbles, 32 * (i / 64) + i % 32) >> (i % 64 < 32 ? 0 : 4) & 15;
}

// Value i of 128 bytes of nibbles (Q6_K): each half has 64 bytes, whose low nibbles come first.
int NibbleOf128(const std::byte* nibbles, int i) {
  return LoadByte(nibbles, 64 * (i / 128) + i % 64) >> (i % 128 < 64 ? 0 : 4) & 15;
}

// Q3_K's scale j of 16: four low bits in the nibbles of bytes 0..7, two high bits in bytes 8..11.
int ScaleOf16(const std::byte* packed, int j) {
  const int low = LoadByte(packed, j % 8) >> (j < 8 ? 0 : 4) & 15;
  const int high = LoadByte(packed, 8 + j % 4) >> (2 * (j / 4)) & 3;
  return low | high << 4;
}

// Q4_K's and Q5_K's scale and minimum j of 8, six bits each in 12 bytes: 0..3 are the low six bits
// of bytes j and j + 4; 4..7 are the nibbles of byte j + 4 below the top two bits of bytes j - 4
// and j.
struct ScaleAndMin {
  float scale, min;
};
ScaleAndMin ScaleAndMinOf8(const std::byte* packed, int j) {
  int scale = 0, min = 0;
  if (j < 4) {
    scale = LoadByte(packed, j) & 63;
    min = LoadByte(packed, j + 4) & 63;
  } else {
    scale = (LoadByte(packed, j + 4) & 15) | LoadByte(packed, j - 4) >> 6 << 4;
    min = LoadByte(packed, j + 4) >> 4 | LoadByte(packed, j) >> 6 << 4;
  }
  return {static_cast<float>(scale), static_cast<float>(min)};
}

}  // namespace

// 16 bytes of group scales (low nibble) and minima (high nibble), 64 bytes of bit pairs, f16 d, f16
// dmin. value = (d scale) q - dmin min.
void DequantizeQ2_K(const std::byte* block, float* out) {
  const float d = LoadF16(block + 80);
  const float dmin = LoadF16(block + 82);
  for (int group = 0; group < 16; ++group) {
    const int packed = LoadByte(block, group);
    const float scale = d * static_cast<float>(packed & 15);
    const float min = dmin * static_cast<float>(packed >> 4);
    for (int i = 16 * group; i < 16 * group + 16; ++i)
      out[i] = scale * static_cast<float>(BitPair(block + 16, i)) - min;
  }
}

// 32 bytes of high bits, 64 bytes of bit pairs, 12 bytes of group scales, f16 d.
// value = (d (scale - 32)) (q - 4), q of three bits.
void DequantizeQ3_K(const std::byte* block, float* out) {
  const float d = LoadF16(block + 108);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(ScaleOf16(block + 96, group) - 32);
    for (int i = 16 * group; i < 16 * group + 16; ++i) {
      const int q = BitPair(block + 32, i) | SingleBit(block, i) << 2;
      out[i] = scale * static_cast<float>(q - 4);
    }
  }
}

// f16 d, f16 dmin, 12 bytes of group scales and minima, 128 bytes of nibbles.
// value = (d scale) q - dmin min.
void DequantizeQ4_K(const std::byte* block, float* out) {
  const float d = LoadF16(block);
  const float dmin = LoadF16(block + 2);
  for (int group = 0; group < 8; ++group) {
    const auto [group_scale, group_min] = ScaleAndMinOf8(block + 4, group);
    const float scale = d * group_scale;
    const float min = dmin * group_min;
    for (int i = 32 * group; i < 32 * group + 32; ++i)
      out[i] = scale * static_cast<float>(NibbleOf64(block + 16, i)) - min;
  }
}

// f16 d, f16 dmin, 12 bytes of group scales and minima, 32 bytes of high bits, 128 bytes of
// nibbles. value = (d scale) q - dmin min, q of five bits.
void DequantizeQ5_K(const std::byte* block, float* out) {
  const float d = LoadF16(block);
  const float dmin = LoadF16(block + 2);
  for (int group = 0; group < 8; ++group) {
    const auto [group_scale, group_min] = ScaleAndMinOf8(block + 4, group);
    const float scale = d * group_scale;
    const float min = dmin * group_min;
    for (int i = 32 * group; i < 32 * group + 32; ++i) {
      const int q = NibbleOf64(block + 48, i) | SingleBit(block + 16, i) << 4;
      out[i] = scale * static_cast<float>(q) - min;
    }
  }
}

// 128 bytes of nibbles, 64 bytes of bit pairs above them, 16 signed group scales, f16 d.
// value = (d scale) (q - 32), q of six bits.
void DequantizeQ6_K(const std::byte* block, float* out) {
  const float d = LoadF16(block + 208);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(LoadUnaligned<int8_t>(block + 192 + group));
    for (int i = 16 * group; i < 16 * group + 16; ++i) {
      const int q = NibbleOf128(block, i) | BitPair(block + 128, i) << 4;
      out[i] = scale * static_cast<float>(q - 32);
    }
  }
}

}  // namespace bitdial::quant
