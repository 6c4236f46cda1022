// Attention over paged K/V in any element type, on the tile micro-kernels.
#pragma once

#include <algorithm>
#include <limits>

#include "kernels/ops/attention/attention_kernels.h"
#include "kernels/ops/attention/kv_layout.h"

namespace bitdial::kernels::cpu {

// A KV format on one ISA. Elements become f32 exactly, so where they do changes no bit.
template <typename Element>
struct AttentionKernels {
  // On rows as they lie in the cache.
  ScoreKeysFn<Element>* score_keys;
  AddValuesFn<Element>* add_values;
  // Up to so many queries; for more it pays to widen a tile once, of which the others read.
  int64_t max_direct_queries;
  void (*widen)(const Element* from, float* to, int64_t n) noexcept;
  ScoreKeysFn<float>* score_widened;
  AddValuesFn<float>* add_widened;
};

// The query heads of one KV head for some rows of one sequence. Its memory (136 KiB at the largest
// head_dim) lies on the thread's stack.
template <typename Element>
class TiledAttention {
 public:
  // Rows [row_begin, row_end) are of one sequence; times heads per KV head at most kMaxQueries.
  TiledAttention(const AttentionKernels<Element>& kernels, const AttentionArgs& args,
                 int64_t row_begin, int64_t row_end, int64_t kv_head)
      : kernels_(kernels),
        args_(args),
        segment_(args.segment),
        row_begin_(row_begin),
        num_rows_(row_end - row_begin),
        kv_head_(kv_head),
        group_heads_(args.num_heads / args.segment.num_kv_heads),
        padded_dim_((args.segment.head_dim + 15) / 16 * 16) {}

  void Run() {
    LoadQueries();
    const bool is_direct = segment_.head_dim == padded_dim_ &&
                           num_rows_ * group_heads_ <= kernels_.max_direct_queries;
    if (is_direct) {
      Walk<Element>(&TiledAttention::FindRows, kernels_.score_keys, kernels_.add_values);
    } else {
      Walk<float>(&TiledAttention::WidenRows, kernels_.score_widened, kernels_.add_widened);
    }
    StoreOutputs();
  }

 private:
  const float* QueryOf(int64_t query) const {
    return args_.q.Row(row_begin_ + query / group_heads_) + HeadOffset(query);
  }
  float* OutputOf(int64_t query) const {
    return args_.out.Row(row_begin_ + query / group_heads_) + HeadOffset(query);
  }
  int64_t HeadOffset(int64_t query) const {
    return (kv_head_ * group_heads_ + query % group_heads_) * segment_.head_dim;
  }

  void LoadQueries() {
    for (int64_t query = 0; query < num_rows_ * group_heads_; ++query) {
      float* padded = q_ + query * padded_dim_;
      std::copy_n(QueryOf(query), segment_.head_dim, padded);
      std::fill(padded + segment_.head_dim, padded + padded_dim_, 0.0f);
      std::fill_n(out_ + query * padded_dim_, padded_dim_, 0.0f);
      max_[query] = -std::numeric_limits<float>::infinity();
      sum_[query] = 0.0f;
    }
  }

  // Rows of tokens [begin, begin + num_keys), of K (head_base 0) or V (head_base num_kv_heads).
  template <typename T>
  using RowsFn = void (TiledAttention::*)(int64_t head_base, int64_t begin, int64_t num_keys,
                                          const T** rows);

  template <typename T>
  void Walk(RowsFn<T> get_rows, ScoreKeysFn<T>* score_keys, AddValuesFn<T>* add_values) {
    const int32_t* const positions = args_.positions + row_begin_;
    const auto [first, last] = std::minmax_element(positions, positions + num_rows_);
    for (int64_t begin = 0; begin <= *last; begin += kKeyTile) {
      const int64_t num_keys = std::min(kKeyTile, *last + 1 - begin);
      const bool all_see_all = *first >= begin + num_keys - 1;
      const T* rows[kKeyTile];
      (this->*get_rows)(0, begin, num_keys, rows);
      ForVisible(begin, num_keys, all_see_all, score_keys, rows);
      (this->*get_rows)(segment_.num_kv_heads, begin, num_keys, rows);
      ForVisible(begin, num_keys, all_see_all, add_values, rows);
    }
  }

  void FindRows(int64_t head_base, int64_t begin, int64_t num_keys, const Element** rows) {
    for (int64_t key = 0; key < num_keys;) {
      const KvSlot slot = FindSlot(segment_, args_.seq_idx[row_begin_], begin + key);
      const Element* row = KRow<Element>(segment_, slot, head_base + kv_head_);
      const int64_t end = std::min(num_keys, key + segment_.block_tokens - slot.slot);
      for (; key < end; ++key, row += segment_.head_dim) rows[key] = row;
    }
  }

  // As f32 in tile_ [num_keys, padded_dim].
  void WidenRows(int64_t head_base, int64_t begin, int64_t num_keys, const float** rows) {
    const Element* from[kKeyTile];
    FindRows(head_base, begin, num_keys, from);
    for (int64_t key = 0; key < num_keys; ++key) {
      float* const to = tile_ + key * padded_dim_;
      kernels_.widen(from[key], to, segment_.head_dim);
      std::fill(to + segment_.head_dim, to + padded_dim_, 0.0f);
      rows[key] = to;
    }
  }

  // One call for all queries where every row sees the whole tile, else one a row with the keys that
  // row sees.
  template <typename TileFn, typename T>
  void ForVisible(int64_t begin, int64_t num_keys, bool all_see_all, TileFn* run,
                  const T* const* rows) {
    if (all_see_all) {
      run(StateOf(0, num_rows_), rows, num_keys);
      return;
    }
    for (int64_t row = 0; row < num_rows_; ++row) {
      const int64_t visible = std::min(num_keys, args_.positions[row_begin_ + row] + 1 - begin);
      if (visible > 0) run(StateOf(row, 1), rows, visible);
    }
  }

  AttentionState StateOf(int64_t row, int64_t count) {
    const int64_t query = row * group_heads_;
    return {.q = q_ + query * padded_dim_,
            .max = max_ + query,
            .sum = sum_ + query,
            .out = out_ + query * padded_dim_,
            .weights = weights_ + query * kKeyTile,
            .num_queries = count * group_heads_,
            .padded_dim = padded_dim_,
            .scale = args_.scale};
  }

  void StoreOutputs() const {
    for (int64_t query = 0; query < num_rows_ * group_heads_; ++query) {
      const float* from = out_ + query * padded_dim_;
      float* to = OutputOf(query);
      for (int64_t c = 0; c < segment_.head_dim; ++c) to[c] = from[c] / sum_[query];
    }
  }

  const AttentionKernels<Element>& kernels_;
  const AttentionArgs& args_;
  const KvSegment& segment_;
  const int64_t row_begin_;
  const int64_t num_rows_;
  const int64_t kv_head_;
  const int64_t group_heads_;
  const int64_t padded_dim_;
  float max_[kMaxQueries];
  float sum_[kMaxQueries];
  alignas(64) float q_[kMaxQueries * kMaxHeadDim];
  alignas(64) float out_[kMaxQueries * kMaxHeadDim];
  alignas(64) float weights_[kMaxQueries * kKeyTile];
  alignas(64) float tile_[kKeyTile * kMaxHeadDim];
};

// Cuts the rows into runs of one sequence that fill a tile's queries, and hands (run, KV head) to
// the threads. A row's result does not depend on the cut (attention_kernels.h).
template <typename Element>
void TileAttention(const AttentionKernels<Element>& kernels, const AttentionArgs& args,
                   Stream& stream) {
  const int64_t num_tokens = args.q.rows;
  const int64_t num_kv_heads = args.segment.num_kv_heads;
  const int64_t max_run = kMaxQueries / (args.num_heads / num_kv_heads);
  auto* run_begins = reinterpret_cast<int64_t*>(
      stream.Scratch(static_cast<size_t>(num_tokens + 1) * sizeof(int64_t)));
  int64_t num_runs = 0;
  for (int64_t row = 0; row < num_tokens; ++row) {
    const bool starts_run = row == 0 || args.seq_idx[row] != args.seq_idx[row - 1] ||
                            row - run_begins[num_runs - 1] == max_run;
    if (starts_run) run_begins[num_runs++] = row;
  }
  run_begins[num_runs] = num_tokens;
  stream.pool().ParallelFor(num_runs * num_kv_heads, [&](int64_t task) {
    // Last run first: a prompt's last rows see the most keys, and long tasks should not come last.
    const int64_t run = num_runs - 1 - task / num_kv_heads;
    TiledAttention<Element>(kernels, args, run_begins[run], run_begins[run + 1],
                            task % num_kv_heads)
        .Run();
  });
}

}  // namespace bitdial::kernels::cpu
