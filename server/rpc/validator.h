// The one gate every request passes, whatever the method: a wire message becomes an engine::Request
// or an error that names each wrong field. Pure: no engine, no clock, no randomness. Nothing below
// checks a request's values again except the engine's own contract (Engine::Submit).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bitdial/v1/inference.pb.h"
#include "engine/engine.h"
#include "kernels/core/status.h"
#include "server/config/config.h"
#include "server/model/sampling_defaults.h"
#include "server/tokenizer/chat_template.h"
#include "server/tokenizer/tokenizer.h"

namespace bitdial::server {

// What a request is held against. References live as long as the model is served.
struct RequestContext {
  const std::string& model_name;
  const engine::ModelInfo& model;
  const Tokenizer& tokenizer;
  const ChatTemplate& chat_template;
  const SamplingDefaults& defaults;
  const RequestLimits& limits;
};

// How ids become the answer's text.
struct TextOptions {
  std::vector<std::string> stop = {};
  int32_t min_tokens = 0;         // stop strings do not end the output before
  bool continues_prompt = false;  // the output's first token is not at the beginning of a text
  std::vector<std::string> echo =
      {};  // the prompt's text, in pieces a message can carry; empty: no echo
  std::vector<int32_t> ending_ids =
      {};  // ids whose own text is not part of the answer: stop ids, end of sequence
  bool wants_token_ids = true;
  bool wants_logprobs = false;
};

struct ValidRequest {
  engine::Request request;  // deadline is left to the caller
  TextOptions text;
  std::string client_request_id;  // the client's name for it; empty: none
  std::string trace_id = {};      // left to the caller; for log lines, empty: none
};

// seed: used when the request has none.
// Errors  NOT_FOUND            unknown model
//         UNIMPLEMENTED        a field that is not built yet (names it)
//         FAILED_PRECONDITION  Chat with a model whose template is not known
//         INVALID_ARGUMENT     everything else, with a google.rpc.BadRequest that lists the fields
absl::StatusOr<ValidRequest> ValidateGenerate(const v1::GenerateRequest& request,
                                              const RequestContext& context, uint64_t seed);
absl::StatusOr<ValidRequest> ValidateChat(const v1::ChatRequest& request,
                                          const RequestContext& context, uint64_t seed);

// Errors  NOT_FOUND. `model` is the request's optional field: absent means the only one.
absl::Status CheckModelName(bool has_model, const std::string& model,
                            const RequestContext& context);
// The request_id of a Cancel: the same form as that of a request.
absl::Status ValidateCancel(const std::string& request_id);
absl::Status ValidateDetokenize(const v1::DetokenizeRequest& request,
                                const RequestContext& context);

}  // namespace bitdial::server
