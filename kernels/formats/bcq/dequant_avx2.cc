// Compiled with AVX2 flags: intrinsics and POD headers only, everything but the entry point in an
// anonymous namespace (invariant 6).
#include <immintrin.h>

#include "kernels/formats/bcq/dequant.h"

namespace bitdial::kernels::bcq {
namespace {

constexpr int64_t kSliceLanes = 16;
constexpr int64_t kLanes = 8;  // half a slice

__m256 LoadHalf(const uint16_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

// 8 outputs x 32 inputs; as in dequant_avx512.cc.
template <int kBits>
void RebuildBlock(const uint32_t* codes, int64_t plane_stride, const __m256* alpha, bool has_beta,
                  __m256 beta, float* out) {
  const __m256i sign_bit = _mm256_set1_epi32(static_cast<int>(0x80000000u));
  __m256i word[kBits];
#pragma GCC unroll 8
  for (int p = 0; p < kBits; ++p) {
    word[p] = _mm256_load_si256(reinterpret_cast<const __m256i*>(codes + p * plane_stride));
  }
  for (int64_t t = kBlockInputs - 1; t >= 0; --t) {
    __m256 weight = _mm256_setzero_ps();
#pragma GCC unroll 8
    for (int p = 0; p < kBits; ++p) {
      const __m256 flip = _mm256_castsi256_ps(_mm256_andnot_si256(word[p], sign_bit));
      const __m256 term = _mm256_xor_ps(alpha[p], flip);
      weight = p == 0 ? term : _mm256_add_ps(weight, term);
      word[p] = _mm256_add_epi32(word[p], word[p]);
    }
    if (has_beta) weight = _mm256_add_ps(weight, beta);
    _mm256_store_ps(out + t * kSliceLanes, weight);
  }
}

template <int kBits>
void RebuildPanel(const DequantArgs& a) {
  const int64_t blocks_per_group = a.group_size / kBlockInputs;
  const int64_t end = a.first_block + a.num_blocks;
  const int64_t slice_floats = a.num_blocks * kBlockInputs * kSliceLanes;
  for (int64_t lane = 0; lane < a.num_slices * kSliceLanes; lane += kLanes) {
    float* out = a.panel + lane / kSliceLanes * slice_floats + lane % kSliceLanes;
    for (int64_t block = a.first_block; block < end;) {
      const int64_t group = block / blocks_per_group;
      const uint16_t* const from = a.set.alpha + a.layout.AlphaOffset(a.tile, group, kBits) + lane;
      __m256 alpha[kBits];
#pragma GCC unroll 8
      for (int p = 0; p < kBits; ++p) alpha[p] = LoadHalf(from + p * kTileLanes);
      const __m256 beta = a.set.beta != nullptr
                              ? LoadHalf(a.set.beta + a.layout.BetaOffset(a.tile, group) + lane)
                              : _mm256_setzero_ps();
      for (; block < end && block < (group + 1) * blocks_per_group; ++block) {
        RebuildBlock<kBits>(a.codes + a.layout.CodeOffset(a.tile, 0, block) + lane,
                            a.layout.plane_stride, alpha, a.set.beta != nullptr, beta, out);
        out += kBlockInputs * kSliceLanes;
      }
    }
  }
}

}  // namespace

void DequantPanelAvx2(const DequantArgs& args) noexcept {
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
