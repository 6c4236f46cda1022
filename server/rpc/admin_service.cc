#include "server/rpc/admin_service.h"

#include <algorithm>
#include <string>

#include "server/config/config.h"
#include "server/config/logging.h"
#include "server/rpc/byte_buffer.h"
#include "server/rpc/caller.h"
#include "server/rpc/rpc_status.h"
#include "server/rpc/validator.h"
#include "server/version.h"

namespace bitdial::server {
namespace {

constexpr int32_t kDefaultListed = 100, kMaxListed = 1000;

absl::Status FieldError(const char* field, const std::string& description) {
  FieldViolations violations;
  violations.Add(field, description);
  return violations.ToStatus();
}

// One word for a level: spdlog says "warning" where the configuration says "warn".
std::string LogLevelNow() {
  const spdlog::level::level_enum level = spdlog::get_level();
  for (const std::string& name : FindConfigKey("log_level")->choices) {
    if (spdlog::level::from_str(name) == level) return name;
  }
  return "?";
}

v1::EngineStatus ToWire(const engine::EngineStats& stats) {
  v1::EngineStatus wire;
  wire.set_num_running(stats.num_running);
  wire.set_num_queued(stats.num_queued);
  wire.set_num_queued_tokens(stats.num_queued_tokens);
  wire.set_num_steps(stats.num_steps);
  wire.set_num_tokens_computed(stats.num_tokens_computed);
  wire.set_num_prompt_tokens(stats.num_prompt_tokens);
  wire.mutable_num_output_tokens_by_bits()->Add(stats.num_output_tokens_by_bits.begin(),
                                                stats.num_output_tokens_by_bits.end());
  wire.set_num_preemptions(stats.num_preemptions);
  wire.set_num_prefix_tokens_asked(stats.num_prefix_tokens_asked);
  wire.set_num_prefix_tokens_hit(stats.num_prefix_tokens_hit);
  wire.set_kv_blocks_used(stats.kv_blocks_used);
  wire.set_kv_blocks_cached(stats.kv_blocks_cached);
  wire.set_kv_blocks_total(stats.kv_blocks_total);
  wire.set_step_seconds(stats.step_seconds);
  wire.set_host_gap_seconds(stats.host_gap_seconds);
  wire.set_auto_bits(stats.auto_bits);
  wire.set_seconds_without_progress(stats.seconds_without_progress);
  return wire;
}

v1::ActiveRequest ToWire(const ActiveRequests::Snapshot& request) {
  v1::ActiveRequest wire;
  wire.set_request_id(request.facts.request_id);
  wire.set_client_request_id(request.facts.client_request_id);
  wire.set_key(request.facts.principal);
  wire.set_method(Name(request.facts.method));
  wire.set_prompt_tokens(request.facts.num_prompt_tokens);
  wire.set_completion_tokens(request.num_tokens);
  wire.set_weight_bits(request.facts.weight_bits);
  wire.set_age_s(request.age_s);
  return wire;
}

}  // namespace

template <typename Request, typename Response>
grpc::ServerUnaryReactor* AdminService::Answer(
    grpc::CallbackServerContext* context, const char* method, const grpc::ByteBuffer& raw,
    grpc::ByteBuffer* response, absl::StatusOr<Response> (AdminService::*answer)(const Request&)) {
  const absl::StatusOr<Principal> principal = Authorize(target_.keys, *context, Scope::kAdmin);
  const auto make_answer = [&]() -> absl::StatusOr<Response> {
    if (!principal.ok()) return principal.status();
    Request request;
    BITDIAL_RETURN_IF_ERROR(FromByteBuffer(raw, request));
    return (this->*answer)(request);
  };
  const absl::StatusOr<Response> made = make_answer();
  if (made.ok()) *response = ToByteBuffer(*made);
  spdlog::info("admin: {} status={} key=\"{}\"", method,
               absl::StatusCodeToString(made.status().code()),
               principal.ok() ? principal->name : "");
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(made.status()));
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::GetStatus(grpc::CallbackServerContext* context,
                                                  const grpc::ByteBuffer* request,
                                                  grpc::ByteBuffer* response) {
  return Answer(context, "GetStatus", *request, response, &AdminService::AnswerStatus);
}

grpc::ServerUnaryReactor* AdminService::CancelRequest(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  return Answer(context, "CancelRequest", *request, response, &AdminService::AnswerCancel);
}

grpc::ServerUnaryReactor* AdminService::SetLogLevel(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request,
                                                    grpc::ByteBuffer* response) {
  return Answer(context, "SetLogLevel", *request, response, &AdminService::AnswerLogLevel);
}

grpc::ServerUnaryReactor* AdminService::Drain(grpc::CallbackServerContext* context,
                                              const grpc::ByteBuffer* request,
                                              grpc::ByteBuffer* response) {
  return Answer(context, "Drain", *request, response, &AdminService::AnswerDrain);
}

absl::StatusOr<v1::GetStatusResponse> AdminService::AnswerStatus(
    const v1::GetStatusRequest& request) {
  const int32_t max_listed = request.has_max_requests() ? request.max_requests() : kDefaultListed;
  if (max_listed < 0 || max_listed > kMaxListed) {
    return FieldError("max_requests", fmt::format("{} is outside [0, {}]", max_listed, kMaxListed));
  }
  const ServedModel* const model = model_;
  v1::GetStatusResponse response;
  response.set_state(target_.is_draining() ? v1::SERVER_STATE_DRAINING
                     : model == nullptr    ? v1::SERVER_STATE_LOADING
                                           : v1::SERVER_STATE_SERVING);
  response.set_server_version(Version());
  response.set_uptime_s(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count());
  response.set_log_level(LogLevelNow());
  response.set_num_active(target_.active.size());
  for (const auto& active : target_.active.List(static_cast<size_t>(max_listed)))
    *response.add_active() = ToWire(active);
  if (model == nullptr) return response;
  response.set_model(model->name);
  *response.mutable_engine() = ToWire(model->engine->stats());
  return response;
}

absl::StatusOr<v1::CancelRequestResponse> AdminService::AnswerCancel(
    const v1::CancelRequestRequest& request) {
  BITDIAL_RETURN_IF_ERROR(ValidateCancel(request.request_id()));
  v1::CancelRequestResponse response;
  response.set_num_cancelled(target_.active.Cancel(request.request_id(), std::nullopt));
  return response;
}

absl::StatusOr<v1::SetLogLevelResponse> AdminService::AnswerLogLevel(
    const v1::SetLogLevelRequest& request) {
  const std::vector<std::string>& levels = FindConfigKey("log_level")->choices;
  if (std::find(levels.begin(), levels.end(), request.level()) == levels.end()) {
    return FieldError("level", fmt::format("\"{}\" is none of trace, debug, info, warn, error, off",
                                           TruncateUtf8(request.level(), 100)));
  }
  v1::SetLogLevelResponse response;
  response.set_previous_level(LogLevelNow());
  spdlog::set_level(spdlog::level::from_str(request.level()));
  return response;
}

absl::StatusOr<v1::DrainResponse> AdminService::AnswerDrain(const v1::DrainRequest& request) {
  (void)request;
  target_.drain();
  return v1::DrainResponse();
}

}  // namespace bitdial::server
