// Micro-kernels of attention on one tile of keys, whatever format they are stored in. POD only
// (invariant 6).
#pragma once

#include <cstdint>

namespace bitdial::kernels::cpu {

// Keys are walked in tiles [j * 64, j * 64 + 64) of the token index: an absolute size, so that a
// row's result does not depend on the chunk it arrived in nor on block_tokens. 64 keys of 128
// channels are 32 KiB of f32 in L1/L2.
inline constexpr int64_t kKeyTile = 64;
inline constexpr int64_t kMaxHeadDim = 256;
// Queries that share a tile: the heads of a KV group times some rows.
inline constexpr int64_t kMaxQueries = 32;

// The running softmax of a set of queries (online softmax: Milakov and Gimelshein 2018).
// All arrays are zero-padded to padded_dim = head_dim rounded up to 16.
struct AttentionState {
  const float* q;  // [num_queries, padded_dim]
  float* max;      // [num_queries], starts at -inf
  float* sum;      // [num_queries], sum of exponentials, starts at 0
  float* out;      // [num_queries, padded_dim], not yet divided by sum, starts at 0
  float* weights;  // [num_queries, kKeyTile], from ScoreKeys to AddValues
  int64_t num_queries;
  int64_t padded_dim;
  float scale;
};

// keys, values: the rows [padded_dim] of num_keys (1..64) tokens, wherever they lie.

// For every query: the score of each key, a 16-lane FMA dot product times scale; then max, sum and out
// are moved to the new maximum and weights = e^(score - max), +0 past num_keys.
template <typename Element>
using ScoreKeysFn = void(const AttentionState& state, const Element* const* keys,
                         int64_t num_keys) noexcept;
// out += weights * values, in ascending order, one FMA each.
template <typename Element>
using AddValuesFn = void(const AttentionState& state, const Element* const* values,
                         int64_t num_keys) noexcept;

namespace avx2 {
ScoreKeysFn<float> ScoreKeysF32;
AddValuesFn<float> AddValuesF32;
ScoreKeysFn<uint16_t> ScoreKeysF16;
AddValuesFn<uint16_t> AddValuesF16;
}  // namespace avx2
namespace avx512 {
ScoreKeysFn<float> ScoreKeysF32;
AddValuesFn<float> AddValuesF32;
ScoreKeysFn<uint16_t> ScoreKeysF16;
AddValuesFn<uint16_t> AddValuesF16;
}  // namespace avx512

}  // namespace bitdial::kernels::cpu
