// From a row of logits to the next token, one row at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/sequence.h"
#include "kernels/core/status.h"

namespace bitdial::engine {

// The chain, in the order that request.h fixes:
//   logit_bias            logit += bias
//   repetition_penalty    of tokens in prompt or output: logit > 0 ? logit / penalty : logit *
//   penalty presence, frequency   of tokens in the output: logit -= presence + frequency *
//   occurrences min_tokens            end-of-sequence and stop ids get -infinity until min_tokens
//   were generated temperature           0: the largest logit wins, the lowest id among equals, and
//   the chain ends here top_k                 the k largest stay, lower ids first among equals
//   top_p                 the fewest most probable tokens whose probabilities reach top_p stay
//   min_p                 tokens with probability >= min_p * the largest stay
//   draw                  by UniformDraw(seed, choice, index of the new token)
// Ids >= sampled_vocab_size are never sampled and never listed; they do count in the softmax of
// log-probabilities.
//
// Thread   const; rows may be sampled at once, each with its own Scratch.
class Sampler {
 public:
  struct Candidate {
    float weight;  // probability * some constant
    int32_t id;
  };
  struct Scratch {
    std::vector<float> logits;
    std::vector<Candidate> candidates;
  };

  Sampler(int64_t vocab_size, int64_t sampled_vocab_size, std::vector<int32_t> eos_ids);

  // Memory for one row at a time, so that sampling allocates only for what is reported.
  Scratch MakeScratch() const;

  // The next token of `sequence` from its raw logits [vocab_size].
  // Errors  INTERNAL the logits are not finite; INVALID_ARGUMENT every token is masked out
  // (logit_bias of -inf does it).
  absl::StatusOr<TokenEvent> Sample(const float* logits, const Sequence& sequence,
                                    Scratch& scratch) const;

  // log p of prompt token `index` from the raw logits of the row before it. Errors as Sample.
  absl::StatusOr<PromptLogprob> Score(const float* logits, const Sequence& sequence,
                                      int32_t index) const;

  bool IsEos(int32_t token_id) const;

 private:
  absl::Status CheckFinite(const float* logits, const Sequence& sequence) const;
  absl::StatusOr<int32_t> Choose(const float* logits, const Sequence& sequence,
                                 Scratch& scratch) const;
  // True when some rule before the temperature changes a logit.
  bool NeedsAdjusting(const Sequence& sequence) const;
  void Adjust(const Sequence& sequence, float* logits) const;

  int64_t vocab_size_;
  int64_t sampled_vocab_size_;
  std::vector<int32_t> eos_ids_;
};

}  // namespace bitdial::engine
