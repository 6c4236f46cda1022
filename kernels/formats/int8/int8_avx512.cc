// Compiled with AVX-512 flags, VNNI among them: intrinsics and POD headers only, everything but the
// entry points in an anonymous namespace (invariant 6).
#include <immintrin.h>

#include "kernels/formats/int8/int8.h"

namespace bitdial::kernels::int8 {
namespace {

// A type of its own: why is said in bcq/vnni_avx512.h.
using Int32x16 = int32_t __attribute__((vector_size(64)));

constexpr int kSlices = 4;  // registers of 16 outputs in a tile
constexpr int64_t kPairBytes = kTileLanes * 2;

// 4 rows x 4 slices: 16 sums + 4 weights + a pair of a row, of 32 registers.
constexpr int kTileRows = 4;

__m512 LoadHalf(const uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(from)));
}

template <int kRows>
__attribute__((noinline)) void RunSpan(const TileArgs& a, int64_t first, int64_t span) {
  const int64_t in = a.rows.in_features, span_inputs = a.rows.span_inputs;
  const int16_t* x = a.rows.x + (a.first + first) * in + span * span_inputs;
  const int16_t* const end = x + span_inputs;
  const int8_t* w = a.weights + span * span_inputs * kTileLanes;
  Int32x16 sum[kRows][kSlices];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int i = 0; i < kSlices; ++i) sum[r][i] = Int32x16{};
  }
#pragma GCC unroll 1
  for (; x < end; x += 2, w += kPairBytes) {
    _mm_prefetch(reinterpret_cast<const char*>(w + kFetchAhead), _MM_HINT_T1);
    _mm_prefetch(reinterpret_cast<const char*>(w + kFetchAhead + 64), _MM_HINT_T1);
    __m512i weights[kSlices];
#pragma GCC unroll 4
    for (int i = 0; i < kSlices; ++i) {
      weights[i] = _mm512_cvtepi8_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(w + i * 32)));
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      int32_t pair;
      __builtin_memcpy(&pair, x + r * in, sizeof(pair));
      const __m512i inputs = _mm512_set1_epi32(pair);
#pragma GCC unroll 4
      for (int i = 0; i < kSlices; ++i) {
        sum[r][i] = Int32x16(_mm512_dpwssd_epi32(__m512i(sum[r][i]), weights[i], inputs));
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kSlices; ++i) {
    const int64_t lanes = span * kTileLanes + i * 16;
    const __m512 alpha = LoadHalf(a.alpha + lanes);
    const __m512 beta = a.beta == nullptr ? _mm512_setzero_ps() : LoadHalf(a.beta + lanes);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const Span& of_row = a.SpanOf(first + r, span);
      const __m512 scale = _mm512_set1_ps(of_row.scale);
      const Int32x16 whole = sum[r][i] + sum[r][i] + Int32x16(_mm512_set1_epi32(of_row.sum));
      float* const acc = a.acc + (first + r) * kTileLanes + i * 16;
      const __m512 before = span == 0 ? _mm512_setzero_ps() : _mm512_load_ps(acc);
      const __m512 dot = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(__m512i(whole)));
      __m512 y = _mm512_fmadd_ps(alpha, dot, before);
      if (a.beta != nullptr) {
        const float input_sum = of_row.scale * static_cast<float>(of_row.sum);
        y = _mm512_fmadd_ps(beta, _mm512_set1_ps(input_sum), y);
      }
      _mm512_store_ps(acc, y);
    }
  }
}

template <int kRows>
void RunRows(const TileArgs& a, int64_t first) {
  for (int64_t span = 0; span < a.rows.NumSpans(); ++span) RunSpan<kRows>(a, first, span);
}

}  // namespace

void QuantizeAvx512(const float* x, int64_t row, const Rows& rows) noexcept {
  int16_t* out = rows.x + row * rows.in_features;
  for (int64_t span = 0; span < rows.NumSpans(); ++span) {
    __m512 largest = _mm512_setzero_ps(), poison = _mm512_setzero_ps();
    for (int64_t i = 0; i < rows.span_inputs; i += 16) {
      const __m512 values = _mm512_loadu_ps(x + i);
      largest = _mm512_max_ps(largest, _mm512_abs_ps(values));
      poison = _mm512_fmadd_ps(values, _mm512_setzero_ps(), poison);
    }
    const float size = _mm512_reduce_max_ps(largest);
    const __m512 inverse = _mm512_set1_ps(Inverse(size));
    Int32x16 sum = {};
    for (int64_t i = 0; i < rows.span_inputs; i += 16) {
      const __m512i values = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), inverse));
      const __m256i words = _mm512_cvtsepi32_epi16(values);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), words);
      sum += Int32x16(_mm512_cvtepi16_epi32(words));
    }
    rows.spans[row * rows.NumSpans() + span] = {Scale(size) + _mm512_reduce_add_ps(poison),
                                                _mm512_reduce_add_epi32(__m512i(sum))};
    x += rows.span_inputs;
    out += rows.span_inputs;
  }
}

void TileAvx512(const TileArgs& args) noexcept {
  using RowsFn = void (*)(const TileArgs&, int64_t);
  constexpr RowsFn kRuns[kTileRows] = {RunRows<1>, RunRows<2>, RunRows<3>, RunRows<4>};
  for (int64_t row = 0; row < args.num_rows; row += kTileRows) {
    const int64_t count = args.num_rows - row < kTileRows ? args.num_rows - row : kTileRows;
    kRuns[count - 1](args, row);
  }
}

}  // namespace bitdial::kernels::int8
