#include "engine/sequence.h"

#include <algorithm>

namespace bitdial::engine {

Sequence::Sequence(RequestId request_id, Request the_request, std::shared_ptr<EventSink> event_sink,
                   Clock::time_point now)
    : id(request_id),
      request(std::move(the_request)),
      sink(std::move(event_sink)),
      submitted_at(now) {
  tokens.reserve(request.prompt_ids.size() + static_cast<size_t>(request.max_tokens));
  tokens = request.prompt_ids;
  const SamplingParams& sampling = request.sampling;
  if (sampling.repetition_penalty != 1.0f || sampling.presence_penalty != 0.0f ||
      sampling.frequency_penalty != 0.0f) {
    for (int32_t token_id : tokens) seen[token_id].is_in_prompt = true;
  }
}

void Sequence::AppendToken(int32_t token_id) {
  tokens.push_back(token_id);
  if (!seen.empty())
    ++seen[token_id].num_in_output;  // a prompt is never empty, so neither is `seen` when kept
}

int64_t Sequence::MaxKvTokens(const Request& request) {
  return static_cast<int64_t>(request.prompt_ids.size()) + std::max(request.max_tokens, 1) - 1;
}

}  // namespace bitdial::engine
