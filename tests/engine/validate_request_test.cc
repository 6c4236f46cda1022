// Every request that a step could trip over is refused before, with the field's name.
#include "engine/validate_request.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

namespace bitdial::engine {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

ModelInfo Model() {
  ModelInfo model;
  model.vocab_size = 100;
  model.max_context = 20;
  model.bits = {2, 3};
  return model;
}

Request Good() {
  Request request;
  request.prompt_ids = {0, 99};
  request.weight_bits = 3;
  request.max_tokens = 18;  // exactly the context
  return request;
}

TEST(ValidateRequest, TheLimitsThemselvesAreIn) {
  EXPECT_TRUE(ValidateRequest(Good(), Model()).ok());
  Request request = Good();
  request.max_tokens = 0;
  request.sampling.temperature = 0;
  request.sampling.top_p = 1e-6f;
  request.sampling.min_p = 1;
  request.sampling.repetition_penalty = 100;
  request.sampling.logit_bias = {{99, -1e6f}};
  request.num_top_logprobs = 100;
  request.prompt_logprobs_from = 1;
  EXPECT_TRUE(ValidateRequest(request, Model()).ok());
}

TEST(ValidateRequest, RefusesWithTheFieldsName) {
  struct Case {
    const char* names;
    std::function<void(Request&)> spoil;
  };
  const std::vector<Case> cases = {
      {"prompt is empty", [](Request& r) { r.prompt_ids.clear(); }},
      {"prompt_ids[1] is 100", [](Request& r) { r.prompt_ids[1] = 100; }},
      {"prompt_ids[0] is -1", [](Request& r) { r.prompt_ids[0] = -1; }},
      {"max_tokens up to 18 would do", [](Request& r) { r.max_tokens = 19; }},
      {"max_tokens is -1", [](Request& r) { r.max_tokens = -1; }},
      {"the prompt has 21 tokens", [](Request& r) { r.prompt_ids.assign(21, 1); }},
      {"min_tokens is 19", [](Request& r) { r.min_tokens = 19; }},
      {"weight_bits is 4, this model has 2, 3", [](Request& r) { r.weight_bits = 4; }},
      {"weight_bits is 0", [](Request& r) { r.weight_bits = 0; }},
      {"stop_token_ids[0]", [](Request& r) { r.stop_token_ids = {100}; }},
      {"temperature", [](Request& r) { r.sampling.temperature = kNaN; }},
      {"temperature", [](Request& r) { r.sampling.temperature = -0.1f; }},
      {"top_p", [](Request& r) { r.sampling.top_p = 0; }},
      {"top_p", [](Request& r) { r.sampling.top_p = 1.1f; }},
      {"top_k", [](Request& r) { r.sampling.top_k = -1; }},
      {"min_p", [](Request& r) { r.sampling.min_p = kNaN; }},
      {"repetition_penalty", [](Request& r) { r.sampling.repetition_penalty = 0; }},
      {"presence_penalty", [](Request& r) { r.sampling.presence_penalty = 101; }},
      {"frequency_penalty", [](Request& r) { r.sampling.frequency_penalty = kNaN; }},
      {"logit_bias names id 100",
       [](Request& r) {
         r.sampling.logit_bias = {{100, 0.0f}};
       }},
      {"logit_bias of id 1",
       [](Request& r) {
         r.sampling.logit_bias = {{1, kNaN}};
       }},
      {"num_top_logprobs", [](Request& r) { r.num_top_logprobs = 101; }},
      {"num_top_logprobs", [](Request& r) { r.num_top_logprobs = -2; }},
      {"prompt_logprobs_from", [](Request& r) { r.prompt_logprobs_from = 0; }},
  };
  for (const Case& one : cases) {
    Request request = Good();
    one.spoil(request);
    const absl::Status status = ValidateRequest(request, Model());
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << one.names;
    EXPECT_NE(std::string(status.message()).find(one.names), std::string::npos)
        << status << " does not say " << one.names;
  }
}

}  // namespace
}  // namespace bitdial::engine
