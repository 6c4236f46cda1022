// Request bytes of any kind, through the parser and the validator: a verdict, never a crash; what
// passes keeps the engine's contract. The first byte picks the message.
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/core/check.h"
#include "server/rpc/byte_buffer.h"
#include "server/rpc/rpc_status.h"
#include "server/rpc/validator.h"
#include "tests/server/fakes.h"

namespace bitdial::server {
namespace {

void CheckContract(const absl::StatusOr<ValidRequest>& valid, const engine::ModelInfo& info) {
  if (!valid.ok()) {
    const grpc::Status status = ToGrpcStatus(valid.status());
    BITDIAL_CHECK(!status.ok() && !status.error_message().empty() &&
                  !status.error_details().empty());
    return;
  }
  const engine::Request& request = valid->request;
  const auto num_prompt = static_cast<int64_t>(request.prompt_ids.size());
  BITDIAL_CHECK(num_prompt >= 1 && request.max_tokens >= 0 &&
                num_prompt + request.max_tokens <= info.max_context);
  BITDIAL_CHECK(request.min_tokens >= 0 && request.min_tokens <= request.max_tokens);
  for (int32_t id : request.prompt_ids) BITDIAL_CHECK(id >= 0 && id < info.vocab_size);
  for (const auto& [id, bias] : request.sampling.logit_bias) {
    BITDIAL_CHECK(id >= 0 && id < info.vocab_size && std::isfinite(bias));
  }
  BITDIAL_CHECK(request.sampling.temperature >= 0 && request.sampling.top_p > 0 &&
                request.sampling.top_p <= 1);
}

template <typename Request, typename Validate>
void TryParse(const uint8_t* data, size_t size, const engine::ModelInfo& info, Validate validate) {
  Request request;
  if (request.ParseFromArray(data, static_cast<int>(size))) CheckContract(validate(request), info);
}

}  // namespace
}  // namespace bitdial::server

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bitdial::server;
  if (size == 0) return 0;
  static const bool is_silent = [] {
    SilenceProtobuf();
    return true;
  }();
  (void)is_silent;
  static const std::string name = "tiny";
  static const bitdial::engine::ModelInfo info = testing::FakeEngine::Info();
  static const testing::ByteTokenizer tokenizer(testing::kChatMlTemplate);
  static const ChatTemplate chat_template = ChatTemplate::Recognise(tokenizer);
  static const SamplingDefaults defaults;
  static const RequestLimits limits;
  const RequestContext context{name, info, tokenizer, chat_template, defaults, limits};
  if (data[0] % 2 == 0) {
    TryParse<bitdial::v1::GenerateRequest>(data + 1, size - 1, info, [&](const auto& request) {
      return ValidateGenerate(request, context, 1);
    });
  } else {
    TryParse<bitdial::v1::ChatRequest>(data + 1, size - 1, info, [&](const auto& request) {
      return ValidateChat(request, context, 1);
    });
  }
  return 0;
}
