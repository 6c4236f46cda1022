// One request as the engine thread sees it, from admission to its last event.
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

  RequestId id;
  Request request;
  std::shared_ptr<EventSink> sink;
  std::vector<int32_t> tokens;      // the prompt, then the output
  int32_t num_computed_tokens = 0;  // tokens whose K/V is in the cache
  kvcache::BlockTable blocks;
  std::unordered_map<int32_t, SeenToken>
      seen;  // of every id in tokens; empty when no penalty is asked for

  Clock::time_point submitted_at;
  std::optional<Clock::time_point> scheduled_at;
  std::optional<Clock::time_point> first_token_at;  // or the end of the prompt when max_tokens is 0

  void AppendToken(int32_t token_id);
  int32_t num_tokens() const { return static_cast<int32_t>(tokens.size()); }
  int32_t num_prompt_tokens() const { return static_cast<int32_t>(request.prompt_ids.size()); }
  int32_t num_generated_tokens() const { return num_tokens() - num_prompt_tokens(); }
  // Tokens whose K/V may ever be stored: the last sampled one is never fed back.
  int64_t MaxKvTokens() const { return MaxKvTokens(request); }
  static int64_t MaxKvTokens(const Request& request);
};

}  // namespace bitdial::engine
