// The rows of one step as host arrays, in the order every kernel wants them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/scheduler/step_plan.h"
#include "kvcache/kv_manager.h"

namespace bitdial::engine {

// Rows that a linear computes together. The role picks the kernel and follows from the token index
// alone (invariant 8): rows [0, num_prompt_rows) are prompt rows, the rest decode rows; bits
// descend within each.
struct RowGroup {
  int64_t num_rows = 0;
  int64_t num_prompt_rows = 0;
  const uint8_t* bits = nullptr;  // [num_rows]

  int64_t num_decode_rows() const { return num_rows - num_prompt_rows; }
};

// A row whose logits are wanted, and for whom.
struct LogitsRow {
  int32_t row = 0;       // in the batch
  int32_t chunk = 0;     // in the plan
  int32_t position = 0;  // of the row's token in its sequence
};

// Order     prompt rows (token index < num_prompt_tokens), then decode rows; within each by bits
// descending, then by
//           order of admission, then by position. A sequence's rows of one role are contiguous and
//           ascending.
// Memory    reserved at construction for the largest step; Build allocates nothing.
class Batch {
 public:
  // prompts_as_decode: every row counts as a decode row (EngineOptions).
  Batch(int32_t max_tokens, int32_t max_seqs, int32_t max_blocks_per_seq,
        bool prompts_as_decode = false);

  void Build(const StepPlan& plan);

  RowGroup rows() const { return {num_tokens(), num_prompt_rows_, bits_.data()}; }
  int64_t num_tokens() const { return static_cast<int64_t>(token_ids_.size()); }
  const int32_t* token_ids() const { return token_ids_.data(); }  // [num_tokens]
  const int32_t* positions() const { return positions_.data(); }  // [num_tokens]
  const int32_t* seq_idx() const { return seq_idx_.data(); }  // [num_tokens], row of block_tables
  const uint8_t* bits() const { return bits_.data(); }        // [num_tokens]
  const int32_t* block_tables() const {
    return block_tables_.data();
  }  // [num_seqs, max_blocks_per_seq]
  int32_t max_blocks_per_seq() const { return max_blocks_per_seq_; }

  // Prompt positions whose successor's log-probability was asked for, bits descending.
  std::span<const LogitsRow> scored_rows() const { return scored_rows_; }
  // The last row of every sequence that gets a new token, bits descending.
  std::span<const LogitsRow> sampled_rows() const { return sampled_rows_; }

 private:
  template <typename BitsOf>
  void SortByBits(const StepPlan& plan, BitsOf bits_of);
  void AppendRows(const PlannedChunk& chunk, int32_t chunk_idx, int32_t begin, int32_t end);

  int32_t max_blocks_per_seq_;
  bool prompts_as_decode_;
  int64_t num_prompt_rows_ = 0;
  std::vector<int32_t> token_ids_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> seq_idx_;
  std::vector<uint8_t> bits_;
  std::vector<int32_t> block_tables_;
  std::vector<int32_t> order_;  // chunks by bits descending
  std::vector<LogitsRow> scored_rows_;
  std::vector<LogitsRow> sampled_rows_;
};

}  // namespace bitdial::engine
