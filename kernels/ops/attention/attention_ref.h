// Reference append and attention over any KV format, in double. A format is a struct with
//   Element, static float Load(Element), static Element Store(float).
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/ops/attention/kv_layout.h"

namespace bitdial::kernels {

template <typename Format>
void KvAppendRef(const KvAppendArgs& args, Stream&) noexcept {
  using Element = typename Format::Element;
  const KvSegment& segment = args.segment;
  for (int64_t row = 0; row < args.k.rows; ++row) {
    const KvSlot slot = FindSlot(segment, args.seq_idx[row], args.positions[row]);
    for (int64_t head = 0; head < segment.num_kv_heads; ++head) {
      const float* k = args.k.Row(row) + head * segment.head_dim;
      const float* v = args.v.Row(row) + head * segment.head_dim;
      std::transform(k, k + segment.head_dim, KRow<Element>(segment, slot, head), Format::Store);
      std::transform(v, v + segment.head_dim, VRow<Element>(segment, slot, head), Format::Store);
    }
  }
}

// One query head of one row: all scores' maximum first, then the weighted sum.
// sum_v [head_dim] is the accumulator's memory.
template <typename Format>
void AttendRef(const AttentionArgs& args, int64_t row, int64_t head, double* sum_v) noexcept {
  using Element = typename Format::Element;
  const KvSegment& segment = args.segment;
  const int64_t head_dim = segment.head_dim;
  const int64_t kv_head = head / (args.num_heads / segment.num_kv_heads);
  const float* q = args.q.Row(row) + head * head_dim;
  const auto score = [&](int64_t token) {
    const Element* k = KRow<Element>(segment, FindSlot(segment, args.seq_idx[row], token), kv_head);
    double dot = 0;
    for (int64_t i = 0; i < head_dim; ++i) dot += static_cast<double>(q[i]) * Format::Load(k[i]);
    return dot * args.scale;
  };

  double max_score = -std::numeric_limits<double>::infinity();
  for (int64_t token = 0; token <= args.positions[row]; ++token) {
    max_score = std::max(max_score, score(token));
  }
  double sum_weights = 0;
  std::fill(sum_v, sum_v + head_dim, 0.0);
  for (int64_t token = 0; token <= args.positions[row]; ++token) {
    const Element* v = VRow<Element>(segment, FindSlot(segment, args.seq_idx[row], token), kv_head);
    const double weight = std::exp(score(token) - max_score);
    sum_weights += weight;
    for (int64_t i = 0; i < head_dim; ++i) sum_v[i] += weight * Format::Load(v[i]);
  }
  float* out = args.out.Row(row) + head * head_dim;
  for (int64_t i = 0; i < head_dim; ++i) out[i] = static_cast<float>(sum_v[i] / sum_weights);
}

template <typename Format>
void AttentionRef(const AttentionArgs& args, Stream& stream) noexcept {
  const int64_t num_tasks = args.q.rows * args.num_heads;
  const int64_t head_dim = args.segment.head_dim;
  auto* sums = reinterpret_cast<double*>(
      stream.Scratch(static_cast<size_t>(num_tasks * head_dim) * sizeof(double)));
  stream.pool().ParallelFor(num_tasks, [&](int64_t task) {
    AttendRef<Format>(args, task / args.num_heads, task % args.num_heads, sums + task * head_dim);
  });
}

}  // namespace bitdial::kernels
