#include "server/rpc/inference_service.h"

#include <iterator>
#include <optional>
#include <random>
#include <utility>

#include "server/config/logging.h"
#include "server/rpc/byte_buffer.h"
#include "server/rpc/caller.h"
#include "server/rpc/rpc_status.h"
#include "server/rpc/trace_context.h"
#include "server/version.h"

namespace bitdial::server {
namespace {

constexpr char kRequestIdHeader[] = "bitdial-request-id";

// A call that is refused before there is anything to stream.
class RefusedCall final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit RefusedCall(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

uint64_t RandomSeed() {
  static thread_local std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

const char* WireName(ChatForm form) {
  switch (form) {
    case ChatForm::kNone:
      return "none";
    case ChatForm::kChatMl:
      return "chatml";
    case ChatForm::kLlama2:
      return "llama2";
    case ChatForm::kLlama3:
      return "llama3";
  }
  return "?";
}

// The client's deadline on the engine's clock. Absent when there is none, or one so far away that
// it means none.
std::optional<engine::Clock::time_point> DeadlineOf(const grpc::CallbackServerContext& context) {
  const auto left = context.deadline() - std::chrono::system_clock::now();
  if (left > std::chrono::hours(24 * 365)) return std::nullopt;
  return engine::Clock::now() + std::chrono::duration_cast<engine::Clock::duration>(left);
}

// The trace that the client says its call is part of; "" when it says none, or not clearly.
std::string TraceOf(const grpc::CallbackServerContext& context) {
  const auto [begin, end] = context.client_metadata().equal_range("traceparent");
  if (begin == end || std::next(begin) != end) return "";
  return TraceIdOf(std::string(begin->second.data(), begin->second.size()));
}

}  // namespace

InferenceService::InferenceService(const ServerConfig& config, const KeyStore& keys,
                                   Metrics& metrics)
    : keys_(keys),
      metrics_(metrics),
      limits_(config.request),
      shares_prefixes_(config.share_prefixes),
      slow_reader_{static_cast<size_t>(config.max_unread_tokens),
                   std::chrono::seconds(config.slow_reader_timeout_s)},
      process_tag_(fmt::format("{:08x}", static_cast<uint32_t>(RandomSeed()))),
      active_(config.max_active_requests) {}

InferenceService::Serving::Serving(const ServedModel& served, const RequestLimits& limits,
                                   WriterThread& writer, ActiveRequests& active, Metrics& metrics,
                                   const SlowReaderLimits& slow_reader)
    : model(served),
      context{served.name,          served.engine->model(),   *served.tokenizer,
              served.chat_template, served.sampling_defaults, limits},
      call_server{*served.engine, *served.tokenizer, writer, active, metrics, slow_reader} {}

void InferenceService::Serve(const ServedModel& model) {
  serving_owner_ = std::make_unique<const Serving>(model, limits_, writer_, active_, metrics_,
                                                   slow_reader_);
  serving_.store(serving_owner_.get(), std::memory_order_release);
}

absl::StatusOr<const InferenceService::Serving*> InferenceService::Find() const {
  const Serving* serving = serving_.load(std::memory_order_acquire);
  if (serving == nullptr)
    return WithReason(Unavailable("the model is still loading; try again"), kReasonLoading);
  return serving;
}

std::string InferenceService::MakeRequestId() {
  return fmt::format("{}-{}", process_tag_, ++num_requests_);
}

absl::StatusOr<Principal> InferenceService::Admit(const grpc::CallbackServerContext& context,
                                                  Scope scope) {
  BITDIAL_ASSIGN_OR_RETURN(Principal principal, Authorize(keys_, context, scope));
  const int64_t per_minute = principal.max_requests_per_minute;
  if (per_minute == 0 || scope != Scope::kInference) return principal;
  const auto wait = rates_.Take(principal.name, per_minute, RateLimiter::Clock::now());
  if (!wait.has_value()) return principal;
  const absl::Status status =
      WithReason(ResourceExhausted("this API key may make {} calls a minute; wait {:.1f} s",
                                   per_minute, std::chrono::duration<double>(*wait).count()),
                 kReasonRateLimit);
  return WithQuota(status, "key:" + principal.name,
                   fmt::format("max_requests_per_minute {}", per_minute), *wait);
}

template <typename Request>
grpc::ServerWriteReactor<grpc::ByteBuffer>* InferenceService::Stream(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer& raw, Method method,
    absl::StatusOr<ValidRequest> (*validate)(const Request&, const RequestContext&,
                                             uint64_t seed)) {
  const LogTag tag{MakeRequestId(), TraceOf(*context)};
  context->AddInitialMetadata(kRequestIdHeader, tag.request_id);
  const absl::StatusOr<Principal> principal = Admit(*context, Scope::kInference);
  const absl::StatusOr<const Serving*> serving = Find();
  const auto make_valid = [&]() -> absl::StatusOr<ValidRequest> {
    if (!principal.ok()) return principal.status();
    if (context->IsCancelled()) return absl::CancelledError("the client cancelled");
    if (!serving.ok()) return serving.status();
    if (is_draining_)
      return WithReason(Unavailable("the server is shutting down; ask another"), kReasonDraining);
    Request request;
    BITDIAL_RETURN_IF_ERROR(FromByteBuffer(raw, request));
    return validate(request, (*serving)->context, RandomSeed());
  };
  absl::StatusOr<ValidRequest> valid = make_valid();
  if (!valid.ok()) {
    LogRequest(spdlog::level::info, tag, "refused: {} key=\"{}\"",
               absl::StatusCodeToString(valid.status().code()),
               principal.ok() ? principal->name : "");
    metrics_.CountRejected(ReasonOf(valid.status()));
    return new RefusedCall(WithRequestId(valid.status(), tag.request_id));
  }
  valid->request.deadline = DeadlineOf(*context);
  valid->trace_id = tag.trace_id;
  if (!shares_prefixes_) valid->request.cache_scope = principal->name;
  return StreamCall::Start(*context, (*serving)->call_server, method, tag.request_id, *principal,
                           *std::move(valid));
}

template <typename Request, typename Response>
grpc::ServerUnaryReactor* InferenceService::Answer(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer& raw, grpc::ByteBuffer* response,
    Scope scope, absl::StatusOr<Response> (*answer)(const Request&, const Serving&)) {
  const auto make_answer = [&]() -> absl::StatusOr<Response> {
    BITDIAL_RETURN_IF_ERROR(Admit(*context, scope).status());
    BITDIAL_ASSIGN_OR_RETURN(const Serving* serving, Find());
    Request request;
    BITDIAL_RETURN_IF_ERROR(FromByteBuffer(raw, request));
    return answer(request, *serving);
  };
  const absl::StatusOr<Response> made = make_answer();
  if (made.ok()) *response = ToByteBuffer(*made);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(made.status()));
  return reactor;
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* InferenceService::Generate(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return Stream(context, *request, Method::kGenerate, &ValidateGenerate);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* InferenceService::Chat(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return Stream(context, *request, Method::kChat, &ValidateChat);
}

// Asks for no rate: who ends his work early should not have to wait for it.
grpc::ServerUnaryReactor* InferenceService::Cancel(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* request,
                                                   grpc::ByteBuffer* response) {
  const auto cancel = [&]() -> absl::Status {
    BITDIAL_ASSIGN_OR_RETURN(const Principal principal,
                             Authorize(keys_, *context, Scope::kInference));
    v1::CancelRequest message;
    BITDIAL_RETURN_IF_ERROR(FromByteBuffer(*request, message));
    BITDIAL_RETURN_IF_ERROR(ValidateCancel(message.request_id()));
    // Without keys everybody is the same caller, and has the scope admin.
    const bool is_admin = principal.Has(Scope::kAdmin);
    v1::CancelResponse answer;
    answer.set_num_cancelled(active_.Cancel(
        message.request_id(), is_admin ? std::nullopt : std::optional(principal.name)));
    *response = ToByteBuffer(answer);
    return absl::OkStatus();
  };
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(cancel()));
  return reactor;
}

grpc::ServerUnaryReactor* InferenceService::Tokenize(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* response) {
  return Answer(context, *request, response, Scope::kInference, &AnswerTokenize);
}

grpc::ServerUnaryReactor* InferenceService::Detokenize(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request,
                                                       grpc::ByteBuffer* response) {
  return Answer(context, *request, response, Scope::kInference, &AnswerDetokenize);
}

grpc::ServerUnaryReactor* InferenceService::ListModels(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request,
                                                       grpc::ByteBuffer* response) {
  return Answer(context, *request, response, Scope::kModels, &AnswerListModels);
}

grpc::ServerUnaryReactor* InferenceService::GetModel(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* response) {
  return Answer(context, *request, response, Scope::kModels, &AnswerGetModel);
}

absl::StatusOr<v1::TokenizeResponse> InferenceService::AnswerTokenize(
    const v1::TokenizeRequest& request, const Serving& serving) {
  BITDIAL_RETURN_IF_ERROR(CheckModelName(request.has_model(), request.model(), serving.context));
  const EncodeOptions options = {
      .add_special_tokens = !request.has_add_special_tokens() || request.add_special_tokens(),
      .parse_special_tokens =
          !request.has_parse_special_tokens() || request.parse_special_tokens()};
  const Tokenizer& tokenizer = *serving.model.tokenizer;
  const absl::StatusOr<std::vector<int32_t>> ids = tokenizer.Encode(request.text(), options);
  if (!ids.ok()) return WithReason(ids.status(), kReasonInvalidField);
  v1::TokenizeResponse response;
  for (int32_t id : *ids) {
    response.add_token_ids(id);
    response.add_tokens(TokenText(tokenizer, id));
  }
  return response;
}

absl::StatusOr<v1::DetokenizeResponse> InferenceService::AnswerDetokenize(
    const v1::DetokenizeRequest& request, const Serving& serving) {
  BITDIAL_RETURN_IF_ERROR(CheckModelName(request.has_model(), request.model(), serving.context));
  BITDIAL_RETURN_IF_ERROR(ValidateDetokenize(request, serving.context));
  v1::DetokenizeResponse response;
  response.set_text(
      serving.model.tokenizer->Decode({request.token_ids().begin(), request.token_ids().end()}));
  return response;
}

absl::StatusOr<v1::ListModelsResponse> InferenceService::AnswerListModels(
    const v1::ListModelsRequest& request, const Serving& serving) {
  (void)request;
  v1::ListModelsResponse response;
  response.add_models(serving.model.name);
  return response;
}

absl::StatusOr<v1::GetModelResponse> InferenceService::AnswerGetModel(
    const v1::GetModelRequest& request, const Serving& serving) {
  BITDIAL_RETURN_IF_ERROR(CheckModelName(request.has_model(), request.model(), serving.context));
  const ServedModel& served = serving.model;
  const engine::ModelInfo& model = served.engine->model();
  const quant::QuantizationInfo* quantization = served.checkpoint->quantization();
  v1::GetModelResponse response;
  response.set_name(served.name);
  response.set_architecture(model.architecture);
  response.mutable_weight_bits()->Add(model.bits.begin(), model.bits.end());
  response.set_default_weight_bits(model.default_bits);
  response.set_quantization_method(served.quantization_method());
  response.set_group_size(quantization == nullptr ? 0 : quantization->group_size);
  response.set_max_context(model.max_context);
  response.set_vocab_size(model.vocab_size);
  response.set_num_parameters(model.num_parameters);
  response.set_weight_bytes(model.weight_bytes);
  response.set_kv_cache_bytes(model.kv_cache_bytes);
  response.set_kv_bytes_per_token(model.kv_bytes_per_token);
  response.set_resident_bytes(ResidentBytes());
  response.set_tokenizer(served.tokenizer->kind());
  response.set_chat_template(WireName(served.chat_template.form()));
  response.set_backend(model.backend);
  response.set_numerics(model.numerics);
  response.mutable_kernels()->Add(model.kernels.begin(), model.kernels.end());
  response.set_server_version(Version());
  const engine::EngineStats stats = served.engine->stats();
  response.set_num_running(stats.num_running);
  response.set_num_queued(stats.num_queued);
  response.set_num_tokens_computed(stats.num_tokens_computed);
  return response;
}

}  // namespace bitdial::server
