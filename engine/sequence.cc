#include "engine/sequence.h"

#include <algorithm>
#include <tuple>

namespace bitdial::engine {

Sequence::Sequence(RequestId request_id, Request the_request, std::shared_ptr<EventSink> event_sink,
                   Clock::time_point now)
    : id(request_id),
      request(std::move(the_request)),
      sink(std::move(event_sink)),
      submitted_at(now),
      virtual_arrival(now) {
  tokens.reserve(request.prompt_ids.size() + static_cast<size_t>(request.max_tokens));
  tokens = request.prompt_ids;
  if (request.auto_bits.has_value()) {
    decode_bits.reserve(static_cast<size_t>(request.max_tokens));
  } else {
    prompt_bits = request.weight_bits;
  }
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

int Sequence::BitsOf(int32_t position) const {
  if (!request.auto_bits.has_value()) return request.weight_bits;
  if (position < num_prompt_tokens()) return prompt_bits;
  return decode_bits.at(static_cast<size_t>(position - num_prompt_tokens()));
}

int Sequence::MinBits() const {
  // The row of the last token was not computed when the request ended.
  const auto used =
      decode_bits.begin() +
      std::min<std::ptrdiff_t>(std::ssize(decode_bits), std::max(num_generated_tokens() - 1, 0));
  const auto least = std::min_element(decode_bits.begin(), used);
  return least == used ? prompt_bits : std::min<int>(prompt_bits, *least);
}

bool Sequence::Before(const Sequence* a, const Sequence* b) {
  return std::tie(a->virtual_arrival, a->id, a->choice) <
         std::tie(b->virtual_arrival, b->id, b->choice);
}

int64_t Sequence::MaxKvTokens(const Request& request) {
  return static_cast<int64_t>(request.prompt_ids.size()) + std::max(request.max_tokens, 1) - 1;
}

}  // namespace bitdial::engine
