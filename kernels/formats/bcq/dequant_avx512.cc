// Compiled with AVX-512 flags: intrinsics and POD headers only, everything but the entry point in
// an anonymous namespace (invariant 6).
#include <immintrin.h>

#include "kernels/formats/bcq/dequant.h"

namespace bitdial::kernels::bcq {
namespace {

constexpr int64_t kLanes = 16;

__m512 LoadHalf(const uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

// 16 outputs x 32 inputs. The words walk left one bit an input, so the sign of the current one is
// always on top: xor with its complement turns alpha into +-alpha (one vpternlog), then one
// addition a plane.
template <int kBits>
void RebuildBlock(const uint32_t* codes, int64_t plane_stride, const __m512i* alpha, bool has_beta,
                  __m512 beta, float* out) {
  const __m512i sign_bit = _mm512_set1_epi32(static_cast<int>(0x80000000u));
  __m512i word[kBits];
#pragma GCC unroll 8
  for (int p = 0; p < kBits; ++p) word[p] = _mm512_load_si512(codes + p * plane_stride);
  for (int64_t t = kBlockInputs - 1; t >= 0; --t) {
    __m512 weight = _mm512_setzero_ps();
#pragma GCC unroll 8
    for (int p = 0; p < kBits; ++p) {
      // 0xd2: alpha ^ (~word & sign_bit), with operands (alpha, word, sign_bit).
      const __m512 term =
          _mm512_castsi512_ps(_mm512_ternarylogic_epi32(alpha[p], word[p], sign_bit, 0xd2));
      weight = p == 0 ? term : _mm512_add_ps(weight, term);
      word[p] = _mm512_add_epi32(word[p], word[p]);
    }
    if (has_beta) weight = _mm512_add_ps(weight, beta);
    _mm512_store_ps(out + t * kLanes, weight);
  }
}

template <int kBits>
void RebuildPanel(const DequantArgs& a) {
  const int64_t blocks_per_group = a.group_size / kBlockInputs;
  const int64_t end = a.first_block + a.num_blocks;
  float* out = a.panel;
  for (int64_t lane = 0; lane < a.num_slices * kLanes; lane += kLanes) {
    for (int64_t block = a.first_block; block < end;) {
      const int64_t group = block / blocks_per_group;
      const uint16_t* const from = a.set.alpha + a.layout.AlphaOffset(a.tile, group, kBits) + lane;
      __m512i alpha[kBits];
#pragma GCC unroll 8
      for (int p = 0; p < kBits; ++p)
        alpha[p] = _mm512_castps_si512(LoadHalf(from + p * kTileLanes));
      const __m512 beta = a.set.beta != nullptr
                              ? LoadHalf(a.set.beta + a.layout.BetaOffset(a.tile, group) + lane)
                              : _mm512_setzero_ps();
      for (; block < end && block < (group + 1) * blocks_per_group; ++block) {
        RebuildBlock<kBits>(a.codes + a.layout.CodeOffset(a.tile, 0, block) + lane,
                            a.layout.plane_stride, alpha, a.set.beta != nullptr, beta, out);
        out += kBlockInputs * kLanes;
      }
    }
  }
}

}  // namespace

void DequantPanelAvx512(const DequantArgs& args) noexcept {
  switch (args.set.bits) {
    case 1:
      return RebuildPanel<1>(args);
    case 2:
      return RebuildPanel<2>(args);
    case 3:
      return RebuildPanel<3>(args);
    case 4:
      return RebuildPanel<4>(args);
    case 5:
      return RebuildPanel<5>(args);
    case 6:
      return RebuildPanel<6>(args);
    case 7:
      return RebuildPanel<7>(args);
    default:
      return RebuildPanel<8>(args);
  }
}

}  // namespace bitdial::kernels::bcq
