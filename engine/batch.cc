#include "engine/batch.h"

#include <algorithm>

#include "kernels/core/check.h"

namespace bitdial::engine {

Batch::Batch(int32_t max_tokens, int32_t max_seqs, int32_t max_blocks_per_seq,
             bool prompts_as_decode)
    : max_blocks_per_seq_(max_blocks_per_seq), prompts_as_decode_(prompts_as_decode) {
  const auto tokens = static_cast<size_t>(max_tokens), seqs = static_cast<size_t>(max_seqs);
  token_ids_.reserve(tokens);
  positions_.reserve(tokens);
  seq_idx_.reserve(tokens);
  bits_.reserve(tokens);
  scored_rows_.reserve(tokens);
  sampled_rows_.reserve(seqs);
  order_.reserve(seqs);
  block_tables_.resize(seqs * static_cast<size_t>(max_blocks_per_seq));
}

void Batch::Build(const StepPlan& plan) {
  token_ids_.clear();
  positions_.clear();
  seq_idx_.clear();
  bits_.clear();
  scored_rows_.clear();
  sampled_rows_.clear();
  order_.clear();
  for (size_t i = 0; i < plan.chunks.size(); ++i) {
    const std::vector<int32_t>& blocks = plan.chunks[i].sequence->blocks.blocks;
    BITDIAL_CHECK(static_cast<int32_t>(blocks.size()) <= max_blocks_per_seq_);
    std::copy(blocks.begin(), blocks.end(),
              block_tables_.begin() + static_cast<int64_t>(i) * max_blocks_per_seq_);
    order_.push_back(static_cast<int32_t>(i));
  }
  const auto first_decode_position = [this](const PlannedChunk& chunk) {
    return prompts_as_decode_ ? 0 : chunk.sequence->num_prompt_tokens();
  };
  SortByBits(plan, [](const PlannedChunk& chunk) { return chunk.prompt_bits(); });
  for (int32_t i : order_) {
    const PlannedChunk& chunk = plan.chunks[static_cast<size_t>(i)];
    AppendRows(chunk, i, chunk.begin, std::min(chunk.end(), first_decode_position(chunk)));
  }
  num_prompt_rows_ = num_tokens();
  SortByBits(plan, [](const PlannedChunk& chunk) { return chunk.decode_bits(); });
  for (int32_t i : order_) {
    const PlannedChunk& chunk = plan.chunks[static_cast<size_t>(i)];
    AppendRows(chunk, i, std::max(chunk.begin, first_decode_position(chunk)), chunk.end());
  }
  BITDIAL_CHECK(num_tokens() == plan.num_tokens);
  // Sampled rows were met in two passes (last prompt rows, then decode rows): one order by bits for
  // the head.
  std::sort(sampled_rows_.begin(), sampled_rows_.end(),
            [&](const LogitsRow& a, const LogitsRow& b) {
              const uint8_t bits_a = bits_[static_cast<size_t>(a.row)],
                            bits_b = bits_[static_cast<size_t>(b.row)];
              return bits_a != bits_b ? bits_a > bits_b : a.row < b.row;
            });
}

template <typename BitsOf>
void Batch::SortByBits(const StepPlan& plan, BitsOf bits_of) {
  // Ties by index make the order total: std::sort needs no memory, std::stable_sort would.
  std::sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) {
    const int bits_a = bits_of(plan.chunks[static_cast<size_t>(a)]);
    const int bits_b = bits_of(plan.chunks[static_cast<size_t>(b)]);
    return bits_a != bits_b ? bits_a > bits_b : a < b;
  });
}

void Batch::AppendRows(const PlannedChunk& chunk, int32_t chunk_idx, int32_t begin, int32_t end) {
  const Sequence& sequence = *chunk.sequence;
  const int32_t last_scored =
      sequence.num_prompt_tokens() - 2;  // it predicts the prompt's last token
  for (int32_t position = begin; position < end; ++position) {
    const LogitsRow row{static_cast<int32_t>(token_ids_.size()), chunk_idx, position};
    if (sequence.request.prompt_logprobs_from.has_value() &&
        position + 1 >= *sequence.request.prompt_logprobs_from && position <= last_scored &&
        position >= sequence.num_once_computed) {  // else it was scored before a preemption
      scored_rows_.push_back(row);
    }
    if (position == chunk.end() - 1 && chunk.NeedsSample()) sampled_rows_.push_back(row);
    token_ids_.push_back(sequence.tokens[static_cast<size_t>(position)]);
    positions_.push_back(position);
    seq_idx_.push_back(chunk_idx);
    bits_.push_back(static_cast<uint8_t>(sequence.BitsOf(position)));
  }
}

}  // namespace bitdial::engine
