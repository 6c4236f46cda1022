// A block of 256 is eight octants of 32 values. Its groups of 16 or 32 have integer scales (and
// minima) of their own, times f16 factors of the block. As in ggml_blocks.cc: unpack, then scale.
#include <array>

#include "quant/container/ggml_blocks.h"
#include "quant/container/ggml_load.h"

namespace bitdial::quant {
namespace {

using Integers = std::array<uint8_t, 256>;

// Where the octants lie: octant o takes `bits` bits at bit shift[o] of each of the 32 bytes that
// begin at from[o].
struct Packing {
  int bits;
  std::array<int, 8> from;
  std::array<int, 8> shift;
};
constexpr Packing kBits = {1, {0, 0, 0, 0, 0, 0, 0, 0}, {0, 1, 2, 3, 4, 5, 6, 7}};
constexpr Packing kPairs = {2, {0, 0, 0, 0, 32, 32, 32, 32}, {0, 2, 4, 6, 0, 2, 4, 6}};
constexpr Packing kNibbles = {4, {0, 0, 32, 32, 64, 64, 96, 96}, {0, 4, 0, 4, 0, 4, 0, 4}};
constexpr Packing kNibblesOfQ6_K = {4, {0, 32, 0, 32, 64, 96, 64, 96}, {0, 0, 4, 4, 0, 0, 4, 4}};

// Puts the packed bits into q from bit `at` on.
void Unpack(const Packing& packing, const std::byte* packed, int at, Integers* q) {
  const int mask = (1 << packing.bits) - 1;
  for (int octant = 0; octant < 8; ++octant) {
    const std::byte* bytes = packed + packing.from[octant];
    const int shift = packing.shift[octant];
    uint8_t* out = q->data() + 32 * octant;
    for (int i = 0; i < 32; ++i)
      out[i] |= static_cast<uint8_t>((LoadByte(bytes, i) >> shift & mask) << at);
  }
}

// out = scale (q - zero), `count` values.
void Scale(const uint8_t* q, int count, int zero, float scale, float* out) {
  for (int i = 0; i < count; ++i) out[i] = scale * static_cast<float>(q[i] - zero);
}

// out = scale q - min, `count` values.
void ScaleAndShift(const uint8_t* q, int count, float scale, float min, float* out) {
  for (int i = 0; i < count; ++i) out[i] = scale * static_cast<float>(q[i]) - min;
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

// The values of Q4_K and Q5_K. header: f16 d, f16 dmin, 12 bytes of group scales and minima.
void ScaleOctants(const Integers& q, const std::byte* header, float* out) {
  const float d = LoadF16(header);
  const float dmin = LoadF16(header + 2);
  for (int octant = 0; octant < 8; ++octant) {
    const auto [scale, min] = ScaleAndMinOf8(header + 4, octant);
    const int begin = 32 * octant;
    ScaleAndShift(q.data() + begin, 32, d * scale, dmin * min, out + begin);
  }
}

}  // namespace

// 16 bytes of group scales (low nibble) and minima (high nibble), 64 bytes of bit pairs, f16 d, f16
// dmin. value = (d scale) q - dmin min.
void DequantizeQ2_K(const std::byte* block, float* out) {
  Integers q{};
  Unpack(kPairs, block + 16, 0, &q);
  const float d = LoadF16(block + 80);
  const float dmin = LoadF16(block + 82);
  for (int group = 0; group < 16; ++group) {
    const int packed = LoadByte(block, group);
    const float scale = d * static_cast<float>(packed & 15);
    const float min = dmin * static_cast<float>(packed >> 4);
    ScaleAndShift(q.data() + 16 * group, 16, scale, min, out + 16 * group);
  }
}

// 32 bytes of high bits, 64 bytes of bit pairs, 12 bytes of group scales, f16 d.
// value = (d (scale - 32)) (q - 4), q of three bits.
void DequantizeQ3_K(const std::byte* block, float* out) {
  Integers q{};
  Unpack(kPairs, block + 32, 0, &q);
  Unpack(kBits, block, 2, &q);
  const float d = LoadF16(block + 108);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(ScaleOf16(block + 96, group) - 32);
    Scale(q.data() + 16 * group, 16, 4, scale, out + 16 * group);
  }
}

// f16 d, f16 dmin, 12 bytes of group scales and minima, 128 bytes of nibbles.
// value = (d scale) q - dmin min.
void DequantizeQ4_K(const std::byte* block, float* out) {
  Integers q{};
  Unpack(kNibbles, block + 16, 0, &q);
  ScaleOctants(q, block, out);
}

// f16 d, f16 dmin, 12 bytes of group scales and minima, 32 bytes of high bits, 128 bytes of
// nibbles. value = (d scale) q - dmin min, q of five bits.
void DequantizeQ5_K(const std::byte* block, float* out) {
  Integers q{};
  Unpack(kNibbles, block + 48, 0, &q);
  Unpack(kBits, block + 16, 4, &q);
  ScaleOctants(q, block, out);
}

// 128 bytes of nibbles, 64 bytes of bit pairs above them, 16 signed group scales, f16 d.
// value = (d scale) (q - 32), q of six bits.
void DequantizeQ6_K(const std::byte* block, float* out) {
  Integers q{};
  Unpack(kNibblesOfQ6_K, block, 0, &q);
  Unpack(kPairs, block + 128, 4, &q);
  const float d = LoadF16(block + 208);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(LoadUnaligned<int8_t>(block + 192 + group));
    Scale(q.data() + 16 * group, 16, 32, scale, out + 16 * group);
  }
}

}  // namespace bitdial::quant
