// What one step computes: a value, made by the scheduler and read by everything after it.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/sequence.h"

namespace bitdial::engine {

// Tokens [begin, begin + num_tokens) of the sequence; begin == sequence->num_computed_tokens. All
// its prompt rows are of one bits, and all its decode rows.
struct PlannedChunk {
  Sequence* sequence = nullptr;
  int32_t begin = 0;
  int32_t num_tokens = 0;

  int32_t end() const { return begin + num_tokens; }
  // True when the chunk reaches the last known token, so that the next one is to be sampled.
  bool NeedsSample() const {
    return end() == sequence->num_tokens() && sequence->request.max_tokens > 0;
  }
  int prompt_bits() const { return sequence->prompt_bits; }
  int decode_bits() const { return sequence->BitsOf(end() - 1); }
};

struct StepPlan {
  std::vector<PlannedChunk> chunks;  // one a sequence, in the scheduler's order
  int32_t num_tokens = 0;            // of all chunks, <= max_step_tokens
};

}  // namespace bitdial::engine
