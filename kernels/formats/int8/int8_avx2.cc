// Compiled with AVX2 flags: intrinsics and POD headers only, everything but the entry points in an
// anonymous namespace (invariant 6).
#include <immintrin.h>

#include "kernels/backends/cpu/lanes_avx2.h"
#include "kernels/formats/int8/int8.h"

namespace bitdial::kernels::int8 {
namespace {

using cpu::LargestLane;
using cpu::SumOfLanes;

// A type of its own: why is said in bcq/vnni_avx512.h.
using Int32x8 = int32_t __attribute__((vector_size(32)));

constexpr int64_t kLanes = 8;
constexpr int64_t kPairBytes = kTileLanes * 2;

// 4 rows x 2 slices of 8 outputs: 8 sums + 2 weights + a pair of a row and a product, of 16 registers.
constexpr int kTileRows = 4;

__m256 LoadHalf(const uint16_t* from) {
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(from)));
}

// One span of kSlices slices from output `lane` on.
template <int kRows, int kSlices>
void RunSpan(const TileArgs& a, int64_t first, int64_t span, int64_t lane) {
  const int64_t in = a.rows.in_features, span_inputs = a.rows.span_inputs;
  const int16_t* x = a.rows.x + (a.first + first) * in + span * span_inputs;
  const int16_t* const end = x + span_inputs;
  const int8_t* w = a.weights + span * span_inputs * kTileLanes + lane * 2;
  Int32x8 sum[kRows][kSlices];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int i = 0; i < kSlices; ++i) sum[r][i] = Int32x8{};
  }
#pragma GCC unroll 1
  for (; x < end; x += 2, w += kPairBytes) {
    if (lane == 0) {
      _mm_prefetch(reinterpret_cast<const char*>(w + kFetchAhead), _MM_HINT_T1);
      _mm_prefetch(reinterpret_cast<const char*>(w + kFetchAhead + 64), _MM_HINT_T1);
    }
    __m256i weights[kSlices];
#pragma GCC unroll 4
    for (int i = 0; i < kSlices; ++i) {
      weights[i] =
          _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(w + i * kLanes * 2)));
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      int32_t pair;
      __builtin_memcpy(&pair, x + r * in, sizeof(pair));
      const __m256i inputs = _mm256_set1_epi32(pair);
#pragma GCC unroll 4
      for (int i = 0; i < kSlices; ++i) {
        sum[r][i] += Int32x8(_mm256_madd_epi16(weights[i], inputs));
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kSlices; ++i) {
    const int64_t out = lane + i * kLanes;
    const __m256 alpha = LoadHalf(a.alpha + span * kTileLanes + out);
    const __m256 beta =
        a.beta == nullptr ? _mm256_setzero_ps() : LoadHalf(a.beta + span * kTileLanes + out);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const Span& of_row = a.SpanOf(first + r, span);
      const __m256 scale = _mm256_set1_ps(of_row.scale);
      const Int32x8 whole = sum[r][i] + sum[r][i] + Int32x8(_mm256_set1_epi32(of_row.sum));
      float* const acc = a.acc + (first + r) * kTileLanes + out;
      const __m256 before = span == 0 ? _mm256_setzero_ps() : _mm256_load_ps(acc);
      const __m256 dot = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(__m256i(whole)));
      __m256 y = _mm256_fmadd_ps(alpha, dot, before);
      if (a.beta != nullptr) {
        const float input_sum = of_row.scale * static_cast<float>(of_row.sum);
        y = _mm256_fmadd_ps(beta, _mm256_set1_ps(input_sum), y);
      }
      _mm256_store_ps(acc, y);
    }
  }
}

template <int kRows>
void RunRows(const TileArgs& a, int64_t first) {
  constexpr int kSlices = kRows == 1 ? 4 : 2;
  for (int64_t span = 0; span < a.rows.NumSpans(); ++span) {
    for (int64_t lane = 0; lane < kTileLanes; lane += kSlices * kLanes) {
      RunSpan<kRows, kSlices>(a, first, span, lane);
    }
  }
}

}  // namespace

void QuantizeAvx2(const float* x, int64_t row, const Rows& rows) noexcept {
  int16_t* out = rows.x + row * rows.in_features;
  for (int64_t span = 0; span < rows.NumSpans(); ++span) {
    __m256 largest = _mm256_setzero_ps(), poison = _mm256_setzero_ps();
    for (int64_t i = 0; i < rows.span_inputs; i += 8) {
      const __m256 values = _mm256_loadu_ps(x + i);
      largest = _mm256_max_ps(largest, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), values));
      poison = _mm256_fmadd_ps(values, _mm256_setzero_ps(), poison);
    }
    const float size = LargestLane(largest);
    const __m256 inverse = _mm256_set1_ps(Inverse(size));
    Int32x8 sum = {};
    for (int64_t i = 0; i < rows.span_inputs; i += 16) {
      const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), inverse));
      const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i + 8), inverse));
      const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), words);
      sum += Int32x8(_mm256_madd_epi16(words, _mm256_set1_epi16(1)));
    }
    rows.spans[row * rows.NumSpans() + span] = {Scale(size) + SumOfLanes(poison),
                                                SumOfLanes(__m256i(sum))};
    x += rows.span_inputs;
    out += rows.span_inputs;
  }
}

void TileAvx2(const TileArgs& args) noexcept {
  using RowsFn = void (*)(const TileArgs&, int64_t);
  constexpr RowsFn kRuns[kTileRows] = {RunRows<1>, RunRows<2>, RunRows<3>, RunRows<4>};
  for (int64_t row = 0; row < args.num_rows; row += kTileRows) {
    const int64_t count = args.num_rows - row < kTileRows ? args.num_rows - row : kTileRows;
    kRuns[count - 1](args, row);
  }
}

}  // namespace bitdial::kernels::int8
