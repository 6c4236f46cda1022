// What the engine is asked and what it answers: ids in, ids out.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/core/status.h"

namespace bitdial::engine {

using Clock = std::chrono::steady_clock;
using RequestId = uint64_t;  // made by the engine, never reused in a process

// How the next token is chosen. The order is fixed: logit_bias, repetition, presence and frequency penalties,
// min_tokens mask, temperature, top_k, top_p, min_p, draw. Defaults change nothing.
struct SamplingParams {
  float temperature = 1.0f;         // 0 = greedy; [0, 100]
  int32_t top_k = 0;                // 0 = off
  float top_p = 1.0f;               // (0, 1]
  float min_p = 0.0f;               // [0, 1]: keep tokens with probability >= min_p * the largest
  float repetition_penalty = 1.0f;  // (0, 100]: positive logits of tokens seen (prompt and output) are divided by it
  float presence_penalty = 0.0f;    // [-100, 100]: subtracted once from tokens of the output
  float frequency_penalty = 0.0f;   // [-100, 100]: subtracted per occurrence in the output
  std::vector<std::pair<int32_t, float>> logit_bias;  // added to the logit of each id
  uint64_t seed = 0;                // draws are keyed by (seed, choice, position), never by the neighbours
};

// Bits chosen by the engine at every step (scheduler/bits_controller.h).
struct AutoBits {
  int min_bits = 0;         // the floor, one of ModelInfo::bits
  double ttft_s = 0;        // waiting longer than this for the first token counts as load; 0: no target
  double tpot_s = 0;        // so do slower tokens than this
  // Replay: the bits of each output token (TokenEvent::bits; the first one's are the prompt's); past its end the last
  // goes on.
  std::vector<uint8_t> schedule;
};

inline constexpr int32_t kMaxChoices = 128;
inline constexpr int32_t kMaxPriority = 100;

struct Request {
  std::vector<int32_t> prompt_ids;  // 1 .. ModelInfo::max_context ids, each < ModelInfo::vocab_size
  int weight_bits = 0;              // planes read, one of ModelInfo::bits; 0 = dense weights
  std::optional<AutoBits> auto_bits;  // instead of weight_bits
  int32_t num_choices = 1;          // sequences that continue this prompt and share its K/V; [1, kMaxChoices]
  int32_t priority = 0;             // a level is a head start of EngineOptions::priority_step in the queue; at most kMaxPriority
  bool uses_prefix_cache = true;    // take K/V of equal beginnings from earlier prompts, and leave this one's
  std::string cache_scope;          // prompts of different scopes never share K/V: who asks
  int32_t max_tokens = 16;          // >= 0; 0 scores the prompt and generates nothing
  int32_t min_tokens = 0;           // end-of-sequence and stop ids are not sampled before
  SamplingParams sampling;
  std::vector<int32_t> stop_token_ids;  // end the output, and are its last token
  bool ignore_eos = false;
  int32_t num_top_logprobs = -1;        // -1: no logprobs; 0: of the chosen token; n: and of the n best
  // Report log p(prompt[i] | prompt[0..i)) for i >= this (>= 1). Absent: none.
  std::optional<int32_t> prompt_logprobs_from;
  bool hash_logits = false;             // fill TokenEvent::logits_hash
  std::optional<Clock::time_point> deadline;  // ends queueing and computing
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0.0f;  // natural log of softmax(raw logits), before penalties and temperature
};

struct PromptLogprob {
  int32_t index = 0;  // in prompt_ids; of choice 0 only
  TokenLogprob token;
  std::vector<TokenLogprob> top;  // num_top_logprobs entries, best first
};

struct TokenEvent {
  int32_t choice = 0;  // [0, num_choices)
  int32_t token_id = 0;
  int bits = 0;  // used for this token
  TokenLogprob chosen;            // when num_top_logprobs >= 0
  std::vector<TokenLogprob> top;  // best first
  uint64_t logits_hash = 0;       // of the raw f32 logits' bytes, when asked for
};

enum class FinishReason {
  kEos,        // the model's end-of-sequence id (emitted as the last TokenEvent)
  kStopToken,  // one of stop_token_ids (likewise)
  kLength,     // max_tokens, or the context is full
  kCancelled,  // Engine::Cancel
  kDeadline,   // status is DEADLINE_EXCEEDED
  kError,      // status says why; the neighbours are unaffected
};

// "eos", "stop", "length", "cancelled", "deadline", "error": in JSON and in the log.
const char* Name(FinishReason reason);

struct FinishEvent {
  int32_t choice = 0;
  FinishReason reason = FinishReason::kError;
  absl::Status status;  // OK for kEos, kStopToken, kLength
  int32_t num_prompt_tokens = 0;
  int32_t num_generated_tokens = 0;
  int32_t num_cached_tokens = 0;  // of the prompt, whose K/V was taken from the prefix cache
  int32_t num_preemptions = 0;
  int prompt_bits = 0, min_bits = 0;  // used: for the prompt, and the fewest for any token
  // Seconds. queue: submit to first scheduled; prefill: to the first token (or the end of the prompt);
  // decode: from there to the last token.
  double queue_s = 0, prefill_s = 0, decode_s = 0;
};

// Receives one request's events.
// Thread   engine thread; implementations must not block and must not call back into the engine except Cancel.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void OnPromptLogprobs(std::vector<PromptLogprob> logprobs) { (void)logprobs; }  // ascending, maybe in parts
  virtual void OnToken(TokenEvent event) = 0;
  virtual void OnFinish(FinishEvent event) = 0;  // exactly once for each choice, its last event
  // Asked before every step. While false the request keeps its place and its K/V and makes no token: whoever reads the
  // answer is slower than the engine. Ending that in time is the sink's to do, by Cancel.
  virtual bool IsReady() { return true; }
};

}  // namespace bitdial::engine
