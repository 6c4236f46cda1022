// Attention over paged K/V, and the append that fills it.
#pragma once

#include <cstdint>

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace bitdial::kernels {

// The K/V of one layer in one storage format: the block pool's bytes and how to find a token's slot in them.
// Token n of sequence s lies in block block_tables[s * max_blocks_per_seq + n / block_tokens], slot n % block_tokens.
// A block holds, per layer, K then V, each [num_kv_heads, block_tokens, head_dim] in the KV format's element type.
// (Later formats and MiKV segments add a list of these; a segment's format is a reader.)
struct KvSegment {
  std::byte* blocks = nullptr;      // this layer's bytes in block 0
  int64_t block_stride_bytes = 0;   // from one block to the next
  int32_t block_tokens = 0;
  const int32_t* block_tables = nullptr;  // [num_seqs, max_blocks_per_seq]
  int32_t max_blocks_per_seq = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
};

// Writes K (after RoPE) and V of the step's tokens into their slots.
// Shapes    k, v [num_tokens, num_kv_heads * head_dim]; seq_idx, positions [num_tokens]
// Requires  the block of every position exists in its sequence's table; no two rows name the same slot
struct KvAppendArgs {
  Matrix<const float> k;
  Matrix<const float> v;
  const int32_t* seq_idx = nullptr;
  const int32_t* positions = nullptr;
  KvSegment segment;
};
using KvAppendFn = void (*)(const KvAppendArgs&, Stream&) noexcept;

// Causal attention: row t sees the tokens 0 .. positions[t] of its own sequence, its own K/V already appended.
// out[t, h] = sum_n softmax_n(scale * q[t, h] . k[n, h / (num_heads / num_kv_heads)]) v[n, ...]
// Shapes    q, out [num_tokens, num_heads * head_dim]; out does not alias q
// Writes    every element of out; a row's result depends on its own sequence alone (keys are walked in ascending
//           token order in blocks of an absolute size, whatever chunk the row arrived in).
struct AttentionArgs {
  Matrix<const float> q;
  Matrix<float> out;
  int64_t num_heads = 0;
  float scale = 1.0f;
  const int32_t* seq_idx = nullptr;    // [num_tokens]
  const int32_t* positions = nullptr;  // [num_tokens]
  KvSegment segment;
};
using AttentionFn = void (*)(const AttentionArgs&, Stream&) noexcept;

}  // namespace bitdial::kernels
