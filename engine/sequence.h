// One choice of a request as the engine thread sees it, from admission to its last event.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "engine/request.h"
#include "kvcache/kv_manager.h"

namespace bitdial::engine {

// How often an id was seen: what the penalties need.
struct SeenToken {
  bool is_in_prompt = false;
  int32_t num_in_output = 0;
};

// Owner    StepLoop.   Thread  engine thread only, once the inbox has handed it over.
// There is no prefill or decode phase: num_computed_tokens chases tokens.size().
struct Sequence {
  Sequence(RequestId request_id, Request the_request, std::shared_ptr<EventSink> event_sink,
           Clock::time_point now);

  RequestId id;        // of the request
  int32_t choice = 0;  // among its num_choices
  Request request;
  std::shared_ptr<EventSink> sink;
  std::vector<int32_t> tokens;      // the prompt, then the output
  int32_t num_computed_tokens = 0;  // tokens whose K/V is in the cache
  int32_t num_once_computed = 0;  // the most num_computed_tokens ever was: preemption takes it back
  kvcache::BlockTable blocks;
  // The bits of the prompt's rows; of auto_bits 0 until it is first admitted.
  int prompt_bits = 0;
  // With auto_bits: of the row of each output token, as far as settled.
  std::vector<uint8_t> decode_bits;
  // Names of the prompt's whole blocks in the prefix cache, at prompt_bits; empty: it does not take
  // part.
  std::vector<kvcache::PrefixKey> prefix_keys;
  int keys_bits = -1;             // that prefix_keys were made for
  int32_t num_listed_blocks = 0;  // the first so many are in the prefix cache, or need not be
  int32_t num_cached_tokens = 0;  // that the first admission found there
  int32_t num_preemptions = 0;
  bool is_paused = false;  // its sink is not ready: nothing of it is computed
  std::unordered_map<int32_t, SeenToken>
      seen;  // of every id in tokens; empty when no penalty is asked for

  Clock::time_point submitted_at;
  // submitted_at less the head start of the priority: the place in the order.
  Clock::time_point virtual_arrival;
  std::optional<Clock::time_point> scheduled_at;
  std::optional<Clock::time_point> first_token_at;  // or the end of the prompt when max_tokens is 0

  void AppendToken(int32_t token_id);
  int32_t num_tokens() const { return static_cast<int32_t>(tokens.size()); }
  int32_t num_prompt_tokens() const { return static_cast<int32_t>(request.prompt_ids.size()); }
  int32_t num_generated_tokens() const { return num_tokens() - num_prompt_tokens(); }
  // Bits of the row of the token at `position`; of auto_bits once settled.
  int BitsOf(int32_t position) const;
  // The least of them, of the tokens there are.
  int MinBits() const;
  // The scheduler's order: total, by virtual arrival, then id, then choice.
  static bool Before(const Sequence* a, const Sequence* b);
  // Tokens whose K/V may ever be stored: the last sampled one is never fed back.
  int64_t MaxKvTokens() const { return MaxKvTokens(request); }
  static int64_t MaxKvTokens(const Request& request);
};

}  // namespace bitdial::engine
