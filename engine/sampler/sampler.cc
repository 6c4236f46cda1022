#include "engine/sampler/sampler.h"

#include <algorithm>
#include <limits>

#include "engine/engine.h"
#include "engine/sampler/philox.h"
#include "engine/sampler/softmax.h"

namespace bitdial::engine {
namespace {

using Candidate = Sampler::Candidate;
constexpr float kMasked = -std::numeric_limits<float>::infinity();

// More probable first, the lower id first among equals: a total order, so that results have one
// answer.
bool IsBetter(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
}

void KeepTopK(std::vector<Candidate>& candidates, int32_t k) {
  if (k <= 0 || static_cast<size_t>(k) >= candidates.size()) return;
  std::nth_element(candidates.begin(), candidates.begin() + k, candidates.end(), IsBetter);
  candidates.resize(static_cast<size_t>(k));
}

double TotalWeight(const std::vector<Candidate>& candidates) {
  double total = 0;
  for (const Candidate& candidate : candidates) total += static_cast<double>(candidate.weight);
  return total;
}

// Sorts only as much of the head as is needed, in pieces that grow: O(vocab) for the usual top_p.
void KeepTopP(std::vector<Candidate>& candidates, float top_p) {
  if (top_p >= 1.0f) return;
  const double wanted = static_cast<double>(top_p) * TotalWeight(candidates);
  double sum = 0;
  size_t sorted = 0;
  for (size_t piece = 64; sorted < candidates.size(); piece *= 8) {
    const size_t end = std::min(candidates.size(), sorted + piece);
    const auto first = candidates.begin() + static_cast<ptrdiff_t>(sorted);
    const auto last = candidates.begin() + static_cast<ptrdiff_t>(end);
    if (last != candidates.end()) std::nth_element(first, last, candidates.end(), IsBetter);
    std::sort(first, last, IsBetter);
    for (; sorted < end; ++sorted) {
      sum += static_cast<double>(candidates[sorted].weight);
      if (sum >= wanted) return candidates.resize(sorted + 1);
    }
  }
}

void KeepMinP(std::vector<Candidate>& candidates, float min_p) {
  if (min_p <= 0.0f) return;
  // The best token always survives top_k and top_p, so the largest weight is still there: exp(0).
  std::erase_if(candidates, [min_p](const Candidate& c) { return c.weight < min_p; });
}

// Far beyond any real logit, far enough from the largest float that sums of penalties stay finite.
constexpr float kLargestLogit = 1e30f;

// The candidates are walked by id, so that what is drawn does not depend on how the filters
// reordered them.
int32_t Draw(std::vector<Candidate>& candidates, double uniform) {
  const auto by_id = [](const Candidate& a, const Candidate& b) { return a.id < b.id; };
  if (!std::is_sorted(candidates.begin(), candidates.end(), by_id)) {
    std::sort(candidates.begin(), candidates.end(), by_id);
  }
  double rest = uniform * TotalWeight(candidates);
  for (const Candidate& candidate : candidates) {
    rest -= static_cast<double>(candidate.weight);
    if (rest < 0) return candidate.id;
  }
  return candidates.back().id;  // rounding left a crumb
}

int32_t ArgMax(const float* row, int64_t size) {
  const float max = MaxOf(row, size);
  return static_cast<int32_t>(std::find(row, row + size, max) - row);
}

}  // namespace

Sampler::Sampler(int64_t vocab_size, int64_t sampled_vocab_size, std::vector<int32_t> eos_ids)
    : vocab_size_(vocab_size),
      sampled_vocab_size_(sampled_vocab_size > 0 ? std::min(sampled_vocab_size, vocab_size)
                                                 : vocab_size),
      eos_ids_(std::move(eos_ids)) {}

Sampler::Scratch Sampler::MakeScratch() const {
  Scratch scratch;
  scratch.logits.resize(static_cast<size_t>(sampled_vocab_size_));
  scratch.candidates.reserve(static_cast<size_t>(sampled_vocab_size_));
  return scratch;
}

bool Sampler::IsEos(int32_t token_id) const {
  return std::find(eos_ids_.begin(), eos_ids_.end(), token_id) != eos_ids_.end();
}

absl::Status Sampler::CheckFinite(const float* logits, const Sequence& sequence) const {
  if (IsFinite(logits, vocab_size_)) return absl::OkStatus();
  return Internal("the model's logits are not finite (NaN or infinity) after {} tokens at {} bits",
                  sequence.num_tokens(), sequence.BitsOf(sequence.num_tokens() - 1));
}

absl::StatusOr<TokenEvent> Sampler::Sample(const float* logits, const Sequence& sequence,
                                           Scratch& scratch) const {
  BITDIAL_RETURN_IF_ERROR(CheckFinite(logits, sequence));
  const Request& request = sequence.request;
  TokenEvent event;
  BITDIAL_ASSIGN_OR_RETURN(event.token_id, Choose(logits, sequence, scratch));
  event.choice = sequence.choice;
  event.bits = sequence.BitsOf(sequence.num_tokens() - 1);
  if (request.num_top_logprobs >= 0) {
    const double log_sum_exp = LogSumExp(logits, vocab_size_);
    event.chosen = {event.token_id,
                    static_cast<float>(static_cast<double>(logits[event.token_id]) - log_sum_exp)};
    event.top = TopLogprobs(logits, sampled_vocab_size_, request.num_top_logprobs, log_sum_exp);
  }
  if (request.hash_logits) event.logits_hash = HashLogits(logits, vocab_size_);
  return event;
}

absl::StatusOr<PromptLogprob> Sampler::Score(const float* logits, const Sequence& sequence,
                                             int32_t index) const {
  BITDIAL_RETURN_IF_ERROR(CheckFinite(logits, sequence));
  const double log_sum_exp = LogSumExp(logits, vocab_size_);
  const int32_t token_id = sequence.tokens[static_cast<size_t>(index)];
  PromptLogprob scored;
  scored.index = index;
  scored.token = {token_id,
                  static_cast<float>(static_cast<double>(logits[token_id]) - log_sum_exp)};
  scored.top =
      TopLogprobs(logits, sampled_vocab_size_, sequence.request.num_top_logprobs, log_sum_exp);
  return scored;
}

absl::StatusOr<int32_t> Sampler::Choose(const float* logits, const Sequence& sequence,
                                        Scratch& scratch) const {
  const SamplingParams& sampling = sequence.request.sampling;
  const int64_t size = sampled_vocab_size_;
  if (NeedsAdjusting(sequence)) {
    std::copy(logits, logits + size, scratch.logits.begin());
    Adjust(sequence, scratch.logits.data());
    logits = scratch.logits.data();
  }
  const float max = MaxOf(logits, size);
  if (max == kMasked) {
    return absl::InvalidArgumentError("no token can be sampled: every one is masked out");
  }
  if (sampling.temperature == 0.0f) return ArgMax(logits, size);

  SoftmaxWeights(logits, size, max, sampling.temperature, scratch.logits.data());
  scratch.candidates.clear();
  for (int64_t id = 0; id < size; ++id) {
    const float weight = scratch.logits[static_cast<size_t>(id)];
    if (weight > 0) scratch.candidates.push_back({weight, static_cast<int32_t>(id)});
  }
  KeepTopK(scratch.candidates, sampling.top_k);
  KeepTopP(scratch.candidates, sampling.top_p);
  KeepMinP(scratch.candidates, sampling.min_p);
  const auto position = static_cast<uint32_t>(sequence.num_tokens());
  return Draw(scratch.candidates, UniformDraw(sampling.seed, static_cast<uint32_t>(sequence.choice), position));
}

bool Sampler::NeedsAdjusting(const Sequence& sequence) const {
  return !sequence.request.sampling.logit_bias.empty() || !sequence.seen.empty() ||
         sequence.num_generated_tokens() < sequence.request.min_tokens;
}

void Sampler::Adjust(const Sequence& sequence, float* logits) const {
  const SamplingParams& sampling = sequence.request.sampling;
  for (const auto& [id, bias] : sampling.logit_bias) {
    if (id < sampled_vocab_size_) logits[id] += bias;
  }
  for (const auto& [id, seen] :
       sequence.seen) {  // each id once, so the map's order does not matter
    if (id >= sampled_vocab_size_) continue;
    float& logit = logits[id];
    logit = logit > 0 ? logit / sampling.repetition_penalty : logit * sampling.repetition_penalty;
    logit = std::clamp(logit, -kLargestLogit, kLargestLogit);  // a tiny penalty divides to infinity
    if (seen.num_in_output > 0) {
      logit -= sampling.presence_penalty +
               sampling.frequency_penalty * static_cast<float>(seen.num_in_output);
    }
  }
  if (sequence.num_generated_tokens() < sequence.request.min_tokens) {
    for (int32_t id : eos_ids_) {
      if (id < sampled_vocab_size_) logits[id] = kMasked;
    }
    for (int32_t id : sequence.request.stop_token_ids) {
      if (id < sampled_vocab_size_) logits[id] = kMasked;
    }
  }
}

}  // namespace bitdial::engine
