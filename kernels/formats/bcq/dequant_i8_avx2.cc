// Compiled with AVX2 flags: intrinsics and POD headers only, everything but the entry points in an
// anonymous namespace (invariant 6).
//
// A panel is int16 [pair of inputs][64 outputs][2] for vpmaddwd, which has no saturation to fear;
// pair t of a block of 32 inputs is {t, 16 + t}, the same bit of a word's two halves. Rows of x are
// int16 in that order.
#include <immintrin.h>

#include "kernels/formats/bcq/dequant_i8.h"
#include "kernels/formats/bcq/i8_avx2.h"

namespace bitdial::kernels::bcq {
namespace {

using namespace avx2;  // NOLINT: all of it is this file's

constexpr int64_t kPairBytes = kTileLanes * 2 * 2;
constexpr int64_t kLanes = 8;

__m256i InBothHalves(__m256i values) {
  return _mm256_or_si256(_mm256_and_si256(values, _mm256_set1_epi32(0xffff)),
                         _mm256_slli_epi32(values, 16));
}

// 8 outputs.
template <int kBits>
void BuildSlice(const I8Panel& panel, int64_t lane) {
  std::byte* out = panel.weights + lane * 4;
  for (int64_t span = 0; span < panel.num_spans; ++span) {
    __m256i base = _mm256_setzero_si256(), twice[kBits];  // all signs -; what a sign + adds
#pragma GCC unroll 8
    for (int p = 0; p < kBits; ++p) {
      const __m256i alpha = LoadAlphas(panel.Alpha(span) + p * kTileLanes + lane);
      base = _mm256_sub_epi32(base, alpha);
      twice[p] = InBothHalves(_mm256_add_epi32(alpha, alpha));
    }
    base = InBothHalves(base);
    for (int64_t block = 0; block < panel.span_inputs / kBlockInputs; ++block) {
      const uint32_t* const codes = panel.Codes(span, block) + lane;
      __m256i words[kBits];
#pragma GCC unroll 8
      for (int p = 0; p < kBits; ++p) {
        words[p] = _mm256_load_si256(
            reinterpret_cast<const __m256i*>(codes + p * panel.layout.plane_stride));
      }
      // The words walk left, so the sign of the current pair is on top of each half.
      for (int64_t t = 15; t >= 0; --t) {
        __m256i sum = base;
#pragma GCC unroll 8
        for (int p = 0; p < kBits; ++p) {
          const __m256i is_plus = _mm256_srai_epi16(words[p], 15);
          sum = _mm256_add_epi16(sum, _mm256_and_si256(is_plus, twice[p]));
          words[p] = _mm256_add_epi16(words[p], words[p]);
        }
        _mm256_store_si256(reinterpret_cast<__m256i*>(out + t * kPairBytes), sum);
      }
      out += 16 * kPairBytes;
    }
  }
}

template <int kBits>
void BuildPanel(const I8Panel& panel) {
  for (int64_t lane = 0; lane < kTileLanes; lane += kLanes) BuildSlice<kBits>(panel, lane);
}

// 4 rows x 2 slices: 8 sums + 2 weights + a pair of a row and a product, of 16 registers.
constexpr int kTileRows = 4;
constexpr int kTileSlices = 2;

template <int kRows>
void RunRows(const I8GemmArgs& a, int64_t first, int64_t lane) {
  const int64_t span_inputs = a.panel.span_inputs;
  const std::byte* x = a.rows.x + (a.first_row + first) * a.rows.row_bytes +
                       a.panel.first_span * span_inputs * 2;
  const std::byte* w = a.panel.weights + lane * 4;
  for (int64_t span = 0; span < a.panel.num_spans; ++span) {
    Int32x8 sum[kRows][kTileSlices];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int i = 0; i < kTileSlices; ++i) sum[r][i] = Int32x8{};
    }
    for (int64_t pair = 0; pair < span_inputs / 2; ++pair) {
      __m256i weights[kTileSlices];
#pragma GCC unroll 2
      for (int i = 0; i < kTileSlices; ++i) {
        weights[i] = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + i * kLanes * 4));
      }
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        int32_t inputs;
        __builtin_memcpy(&inputs, x + r * a.rows.row_bytes, sizeof(inputs));
        const __m256i of_pair = _mm256_set1_epi32(inputs);
#pragma GCC unroll 2
        for (int i = 0; i < kTileSlices; ++i) {
          sum[r][i] += Int32x8(_mm256_madd_epi16(weights[i], of_pair));
        }
      }
      w += kPairBytes;
      x += 4;
    }
    const uint16_t* const beta = a.panel.Beta(span);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int i = 0; i < kTileSlices; ++i) {
        const int64_t out = lane + i * kLanes;
        AddSpan(a.panel.Unit(span) + out, beta == nullptr ? nullptr : beta + out,
                a.Span(first + r, span), __m256i(sum[r][i]), a.acc + (first + r) * kTileLanes + out);
      }
    }
  }
}

}  // namespace

void I8QuantizeAvx2(const float* x, int64_t row, const I8Rows& rows) noexcept {
  std::byte* out = rows.x + row * rows.row_bytes;
  for (int64_t span = 0; span < rows.num_spans; ++span, x += rows.span_inputs) {
    alignas(32) int8_t x8[kMaxSpanInputs];
    rows.spans[row * rows.num_spans + span] = QuantizeSpan(x, rows.span_inputs, x8);
    for (int64_t i = 0; i < rows.span_inputs; i += kBlockInputs, out += kBlockInputs * 2) {
      const auto* const from = reinterpret_cast<const __m128i*>(x8 + i);
      const __m256i low = _mm256_cvtepi8_epi16(_mm_load_si128(from));
      const __m256i high = _mm256_cvtepi8_epi16(_mm_load_si128(from + 1));
      // unpack works within 128-bit lanes: pairs 0..3 and 8..11, then 4..7 and 12..15.
      const __m256i even = _mm256_unpacklo_epi16(low, high);
      const __m256i odd = _mm256_unpackhi_epi16(low, high);
      auto* const to = reinterpret_cast<__m256i*>(out);
      _mm256_store_si256(to, _mm256_permute2x128_si256(even, odd, 0x20));
      _mm256_store_si256(to + 1, _mm256_permute2x128_si256(even, odd, 0x31));
    }
  }
}

void I8PanelAvx2(const I8Panel& panel) noexcept {
  switch (panel.set.bits) {
    case 1:
      return BuildPanel<1>(panel);
    case 2:
      return BuildPanel<2>(panel);
    case 3:
      return BuildPanel<3>(panel);
    case 4:
      return BuildPanel<4>(panel);
    default:
      return BuildPanel<kI8MaxPlanes>(panel);
  }
}

void I8GemmAvx2(const I8GemmArgs& args) noexcept {
  using RowsFn = void (*)(const I8GemmArgs&, int64_t, int64_t);
  constexpr RowsFn kRuns[kTileRows] = {RunRows<1>, RunRows<2>, RunRows<3>, RunRows<4>};
  for (int64_t row = 0; row < args.num_rows; row += kTileRows) {
    const int64_t count = args.num_rows - row < kTileRows ? args.num_rows - row : kTileRows;
    for (int64_t lane = 0; lane < kTileLanes; lane += kTileSlices * kLanes) {
      kRuns[count - 1](args, row, lane);
    }
  }
}

}  // namespace bitdial::kernels::bcq
