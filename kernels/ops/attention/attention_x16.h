// Body of attention_avx2.cc and attention_avx512.cc, after their F32x16 header.
#include "kernels/ops/attention/attention_kernels.h"

namespace bitdial::kernels::cpu::BITDIAL_ISA {
namespace {

constexpr int kDotKeys = 4;

// Scores of kQueries queries and the four keys at `keys`; kernel-internal rows past the last key
// repeat it.
template <typename Reader, int kQueries>
BITDIAL_X16 void Score4(const float* q, int64_t dim,
                        const typename Reader::Element* const (&keys)[kDotKeys], float scale,
                        float* weights) {
  F32x16 sum[kQueries][kDotKeys];
#pragma GCC unroll 4
  for (int i = 0; i < kQueries; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kDotKeys; ++j) sum[i][j] = Zero();
  }
  for (int64_t c = 0; c < dim; c += 16) {
    F32x16 key[kDotKeys];
#pragma GCC unroll 4
    for (int j = 0; j < kDotKeys; ++j) key[j] = Reader::Read(keys[j] + c);
#pragma GCC unroll 4
    for (int i = 0; i < kQueries; ++i) {
      const F32x16 query = Load(q + i * dim + c);
#pragma GCC unroll 4
      for (int j = 0; j < kDotKeys; ++j) sum[i][j] = Fma(query, key[j], sum[i][j]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kQueries; ++i) {
    const __m128 dots = ReduceAdd4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
    _mm_storeu_ps(weights + i * kKeyTile, _mm_mul_ps(dots, _mm_set1_ps(scale)));
  }
}

// Of the last kQueries queries or fewer.
template <typename Reader, int kQueries>
BITDIAL_X16 void ScoreRest(const AttentionState& s, int64_t query,
                           const typename Reader::Element* const (&keys)[kDotKeys], int64_t j) {
  if constexpr (kQueries > 0) {
    if (query + kQueries > s.num_queries) {
      ScoreRest<Reader, kQueries - 1>(s, query, keys, j);
    } else {
      Score4<Reader, kQueries>(s.q + query * s.padded_dim, s.padded_dim, keys, s.scale,
                               s.weights + query * kKeyTile + j);
    }
  }
}

// One query's scores become weights; its max, sum and out follow the new maximum.
BITDIAL_X16 void Soften(float* weights, int64_t num_keys, float* max, float* sum, float* out,
                        int64_t dim) {
  const float minus_infinity = -__builtin_inff();
  for (int64_t j = num_keys; j < kKeyTile; ++j) weights[j] = minus_infinity;
  F32x16 tile_max = Set1(*max);
  for (int64_t j = 0; j < kKeyTile; j += 16) tile_max = Max(tile_max, Load(weights + j));
  const float new_max = ReduceMax(tile_max);
  const F32x16 shift = Set1(new_max);
  F32x16 tile_sum = Zero();
  for (int64_t j = 0; j < kKeyTile; j += 16) {
    const F32x16 weight = Exp(Sub(Load(weights + j), shift));
    tile_sum = Add(tile_sum, weight);
    Store(weights + j, weight);
  }
  float correction[16];
  Store(correction, Exp(Sub(Set1(*max), shift)));
  *sum = *sum * correction[0] + ReduceAdd(tile_sum);
  *max = new_max;
  if (correction[0] == 1.0f) return;
  const F32x16 factor = Set1(correction[0]);
  for (int64_t c = 0; c < dim; c += 16) Store(out + c, Mul(Load(out + c), factor));
}

// Channels [channel, channel + kChunks * 16) of kQueries queries stay in registers while the keys pass.
template <typename Reader, int kQueries, int kChunks>
BITDIAL_X16 void AddValuesTile(const float* weights, const typename Reader::Element* const* values,
                               int64_t num_keys, int64_t dim, int64_t channel, float* out) {
  F32x16 sum[kQueries][kChunks];
#pragma GCC unroll 4
  for (int i = 0; i < kQueries; ++i) {
#pragma GCC unroll 4
    for (int c = 0; c < kChunks; ++c) sum[i][c] = Load(out + i * dim + channel + c * 16);
  }
  for (int64_t j = 0; j < num_keys; ++j) {
    F32x16 value[kChunks];
#pragma GCC unroll 4
    for (int c = 0; c < kChunks; ++c) value[c] = Reader::Read(values[j] + channel + c * 16);
#pragma GCC unroll 4
    for (int i = 0; i < kQueries; ++i) {
      const F32x16 weight = Set1(weights[i * kKeyTile + j]);
#pragma GCC unroll 4
      for (int c = 0; c < kChunks; ++c) sum[i][c] = Fma(weight, value[c], sum[i][c]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kQueries; ++i) {
#pragma GCC unroll 4
    for (int c = 0; c < kChunks; ++c) Store(out + i * dim + channel + c * 16, sum[i][c]);
  }
}

// As many queries as leave room for values beside their sums: 16 accumulators on 32 registers, 8 on 16.
constexpr int kValueQueries = kDotRows == 1 ? 2 : 4;

// The next kQueries queries, or fewer where these are the last. Returns how many.
template <typename Reader, int kQueries = kValueQueries>
BITDIAL_X16 int64_t AddValuesOf(const AttentionState& s, int64_t query,
                                const typename Reader::Element* const* values, int64_t num_keys) {
  constexpr int kChunks = kDotRows == 1 ? 2 : 4;
  if constexpr (kQueries > 1) {
    if (query + kQueries > s.num_queries)
      return AddValuesOf<Reader, kQueries - 1>(s, query, values, num_keys);
  }
  const float* weights = s.weights + query * kKeyTile;
  float* out = s.out + query * s.padded_dim;
  int64_t c = 0;
  for (; c + kChunks * 16 <= s.padded_dim; c += kChunks * 16)
    AddValuesTile<Reader, kQueries, kChunks>(weights, values, num_keys, s.padded_dim, c, out);
  for (; c < s.padded_dim; c += 16)
    AddValuesTile<Reader, kQueries, 1>(weights, values, num_keys, s.padded_dim, c, out);
  return kQueries;
}

template <typename Reader>
BITDIAL_X16 void ScoreAll(const AttentionState& s, const typename Reader::Element* const* keys,
                       int64_t num_keys) {
  for (int64_t j = 0; j < num_keys; j += kDotKeys) {
    const typename Reader::Element* four[kDotKeys];
    for (int64_t i = 0; i < kDotKeys; ++i) four[i] = keys[j + i < num_keys ? j + i : num_keys - 1];
    int64_t query = 0;
    for (; query + kDotRows <= s.num_queries; query += kDotRows) {
      Score4<Reader, kDotRows>(s.q + query * s.padded_dim, s.padded_dim, four, s.scale,
                               s.weights + query * kKeyTile + j);
    }
    ScoreRest<Reader, kDotRows - 1>(s, query, four, j);
  }
  for (int64_t query = 0; query < s.num_queries; ++query) {
    Soften(s.weights + query * kKeyTile, num_keys, s.max + query, s.sum + query,
           s.out + query * s.padded_dim, s.padded_dim);
  }
}

template <typename Reader>
BITDIAL_X16 void AddAll(const AttentionState& s, const typename Reader::Element* const* values,
                     int64_t num_keys) {
  for (int64_t query = 0; query < s.num_queries;)
    query += AddValuesOf<Reader>(s, query, values, num_keys);
}

}  // namespace

void ScoreKeysF32(const AttentionState& s, const float* const* keys, int64_t num_keys) noexcept {
  ScoreAll<F32Reader>(s, keys, num_keys);
}
void AddValuesF32(const AttentionState& s, const float* const* values, int64_t num_keys) noexcept {
  AddAll<F32Reader>(s, values, num_keys);
}
void ScoreKeysF16(const AttentionState& s, const uint16_t* const* keys, int64_t num_keys) noexcept {
  ScoreAll<F16Reader>(s, keys, num_keys);
}
void AddValuesF16(const AttentionState& s, const uint16_t* const* values,
                  int64_t num_keys) noexcept {
  AddAll<F16Reader>(s, values, num_keys);
}

}  // namespace bitdial::kernels::cpu::BITDIAL_ISA
