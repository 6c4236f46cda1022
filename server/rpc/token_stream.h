// Token events in, answer text out: the incremental detokenizer, stop strings and log-probabilities
// of one request. Knows nothing of gRPC or threads.
#pragma once

#include <string>
#include <vector>

#include "bitdial/v1/inference.pb.h"
#include "engine/request.h"
#include "server/rpc/stop_matcher.h"
#include "server/rpc/validator.h"
#include "server/tokenizer/tokenizer.h"

namespace bitdial::server {

// Text may lag behind the ids: bytes that are not yet a whole character, and text that may yet
// become a stop string, wait for the tokens that decide. Thread   one caller at a time. The
// tokenizer must outlive it.
class TokenStream {
 public:
  TokenStream(const Tokenizer& tokenizer, TextOptions options);

  // Adds the token's id, log-probabilities and the text it settles to `delta`. After a stop string
  // has matched, nothing: tokens that the engine made meanwhile are not part of the answer.
  void Push(const engine::TokenEvent& event, v1::OutputDelta& delta);
  // Adds the text held back, when no token will come. It may complete a stop string.
  void Flush(v1::OutputDelta& delta);

  bool stop_matched() const { return stop_matcher_.matched(); }
  const std::string& stop() const { return stop_matcher_.match(); }
  int32_t num_tokens() const {
    return num_tokens_;
  }  // of the answer, the one that completed a stop string included
  int32_t last_token_id() const { return last_token_id_; }

 private:
  bool EndsOutput(int32_t id) const;

  const Tokenizer& tokenizer_;
  const TextOptions options_;
  Detokenizer detokenizer_;
  StopMatcher stop_matcher_;
  int32_t num_tokens_ = 0;
  int32_t last_token_id_ = -1;
};

v1::Logprob ToWire(const Tokenizer& tokenizer, const engine::TokenLogprob& chosen,
                   const std::vector<engine::TokenLogprob>& top);

// The bytes of `id` as text of its own; what is no UTF-8 becomes U+FFFD. Special tokens show.
std::string TokenText(const Tokenizer& tokenizer, int32_t id);

}  // namespace bitdial::server
