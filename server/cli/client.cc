#include "server/cli/client.h"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "grpc/health/v1/health.grpc.pb.h"
#include "server/cli/json_text.h"
#include "server/cli/text_table.h"
#include "server/model/served_model.h"

namespace bitdial::server {
namespace {

using nlohmann::ordered_json;
using SteadyClock = std::chrono::steady_clock;

const char* Name(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_EOS:
      return "eos";
    case v1::FINISH_REASON_STOP:
      return "stop";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    default:
      return "unknown";
  }
}

}  // namespace

// What came back, and when.
struct Client::Answer {
  std::string text;
  std::vector<int32_t> token_ids;
  std::string request_id;
  v1::Finish finish;
  double first_text_s = 0;
  double total_s = 0;
};

Client::Client(const ClientOptions& options, const Connection& connection)
    : options_(options),
      channel_(connection.channel),
      stub_(v1::InferenceService::NewStub(channel_)) {
  connection.Prepare(context_);
  if (!options.timeout_s) return;
  context_.set_deadline(std::chrono::system_clock::now() +
                        std::chrono::milliseconds(static_cast<int64_t>(*options.timeout_s * 1000)));
}

void Client::Cancel() {
  is_cancelled_ = true;
  context_.TryCancel();
}

// The server's status with what the user can do about it.
absl::Status Client::ToStatus(const grpc::Status& status) const {
  if (status.ok()) return absl::OkStatus();
  if (is_cancelled_) return absl::CancelledError("cancelled");
  const std::string& server = options_.connection.server;
  const bool is_connected = channel_->GetState(/*try_to_connect=*/false) == GRPC_CHANNEL_READY;
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED && options_.timeout_s) {
    if (is_connected) {
      return MakeStatus(absl::StatusCode::kDeadlineExceeded,
                        "{}: the answer was not complete within {} s; give a longer --timeout, or "
                        "ask for less with --max-tokens",
                        server, *options_.timeout_s);
    }
    return Unavailable("cannot reach a server at {} within {} s; is `bitdial serve` running there?",
                       server, *options_.timeout_s);
  }
  // A status of the server's own always has details; without them it comes from gRPC in this
  // process.
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && status.error_details().empty()) {
    return Unavailable("cannot reach a server at {}: {}; is `bitdial serve` running there?", server,
                       status.error_message());
  }
  // Not a file of this machine: a wrong value or key given to the server.
  const bool is_usage = status.error_code() == grpc::StatusCode::NOT_FOUND ||
                        status.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
                        status.error_code() == grpc::StatusCode::PERMISSION_DENIED;
  const auto code = is_usage ? absl::StatusCode::kInvalidArgument
                             : static_cast<absl::StatusCode>(status.error_code());
  return MakeStatus(code, "{}: {}", server, status.error_message());
}

absl::Status Client::CheckHealth() {
  grpc::health::v1::HealthCheckRequest request;
  request.set_service("bitdial.v1.InferenceService");
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status =
      grpc::health::v1::Health::NewStub(channel_)->Check(&context_, request, &response);
  BITDIAL_RETURN_IF_ERROR(ToStatus(status));
  const std::string word =
      grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status());
  std::cout << (options_.is_json ? JsonText({{"status", word}}) : word) << std::endl;
  if (response.status() == grpc::health::v1::HealthCheckResponse::SERVING) return absl::OkStatus();
  return Unavailable("{} is not serving (loading or shutting down)", options_.connection.server);
}

absl::Status Client::ShowModel() {
  v1::GetModelResponse model;
  BITDIAL_RETURN_IF_ERROR(ToStatus(stub_->GetModel(&context_, {}, &model)));
  const std::vector<int32_t> bits(model.weight_bits().begin(), model.weight_bits().end());
  const ordered_json json = {{"name", model.name()},
                             {"architecture", model.architecture()},
                             {"weight_bits", bits},
                             {"default_weight_bits", model.default_weight_bits()},
                             {"quantization_method", model.quantization_method()},
                             {"max_context", model.max_context()},
                             {"vocab_size", model.vocab_size()},
                             {"num_parameters", model.num_parameters()},
                             {"weight_bytes", model.weight_bytes()},
                             {"kv_cache_bytes", model.kv_cache_bytes()},
                             {"kv_bytes_per_token", model.kv_bytes_per_token()},
                             {"resident_bytes", model.resident_bytes()},
                             {"tokenizer", model.tokenizer()},
                             {"chat_template", model.chat_template()},
                             {"backend", model.backend()},
                             {"numerics", model.numerics()},
                             {"num_running", model.num_running()},
                             {"num_queued", model.num_queued()},
                             {"server_version", model.server_version()}};
  if (options_.is_json) {
    std::cout << JsonText(json) << std::endl;
    return absl::OkStatus();
  }
  for (const auto& [key, value] : json.items()) {
    const bool is_bytes = key.size() > 6 && key.compare(key.size() - 6, 6, "_bytes") == 0;
    const std::string text = is_bytes            ? HumanBytes(value.get<int64_t>())
                             : value.is_string() ? value.get<std::string>()
                                                 : JsonText(value);
    std::cout << fmt::format("{:<20} {}\n", key, text);
  }
  std::cout << std::flush;
  return absl::OkStatus();
}

absl::StatusOr<v1::RequestParams> Client::MakeParams() const {
  v1::RequestParams params;
  if (options_.bits == "dense") {
    params.set_weight_bits(0);
  } else if (!options_.bits.empty()) {
    int bits = 0;
    const char* const end = options_.bits.data() + options_.bits.size();
    const std::from_chars_result parsed = std::from_chars(options_.bits.data(), end, bits);
    if (parsed.ec != std::errc() || parsed.ptr != end) {
      return InvalidArgument("--bits \"{}\": expected a number or \"dense\"", options_.bits);
    }
    params.set_weight_bits(bits);
  }
  if (options_.max_tokens) params.mutable_stopping()->set_max_tokens(*options_.max_tokens);
  if (options_.temperature) params.mutable_sampling()->set_temperature(*options_.temperature);
  if (options_.seed) params.mutable_sampling()->set_seed(*options_.seed);
  if (options_.ignore_eos) params.mutable_stopping()->set_ignore_eos(true);
  for (const std::string& stop : options_.stop) params.mutable_stopping()->add_stop(stop);
  return params;
}

template <typename Response>
grpc::Status Client::ReadAll(grpc::ClientReader<Response>& reader, Answer& answer) {
  const SteadyClock::time_point start = SteadyClock::now();
  const auto elapsed = [&] {
    return std::chrono::duration<double>(SteadyClock::now() - start).count();
  };
  Response response;
  while (reader.Read(&response)) {
    if (!response.request_id().empty()) answer.request_id = response.request_id();
    const v1::OutputDelta& delta = response.delta();
    if (answer.text.empty() && !delta.text().empty()) answer.first_text_s = elapsed();
    answer.text += delta.text();
    answer.token_ids.insert(answer.token_ids.end(), delta.token_ids().begin(),
                            delta.token_ids().end());
    if (!options_.is_json) std::cout << delta.text() << std::flush;
    if (response.has_finish()) answer.finish = response.finish();
  }
  answer.total_s = elapsed();
  return reader.Finish();
}

absl::Status Client::Ask() {
  BITDIAL_ASSIGN_OR_RETURN(const v1::RequestParams params, MakeParams());
  Answer answer;
  grpc::Status status;
  if (options_.is_chat) {
    v1::ChatRequest request;
    *request.mutable_params() = params;
    const auto add = [&](v1::ChatMessage::Role role, const std::string& content) {
      v1::ChatMessage& message = *request.add_messages();
      message.set_role(role);
      message.set_content(content);
    };
    if (!options_.system.empty()) add(v1::ChatMessage::ROLE_SYSTEM, options_.system);
    add(v1::ChatMessage::ROLE_USER, options_.prompt);
    status = ReadAll(*stub_->Chat(&context_, request), answer);
  } else {
    v1::GenerateRequest request;
    *request.mutable_params() = params;
    request.set_text(options_.prompt);
    status = ReadAll(*stub_->Generate(&context_, request), answer);
  }
  if (!options_.is_json && !answer.text.empty()) std::cout << std::endl;
  BITDIAL_RETURN_IF_ERROR(ToStatus(status));
  PrintAnswer(answer);
  return absl::OkStatus();
}

void Client::PrintAnswer(const Answer& answer) const {
  const v1::Finish& finish = answer.finish;
  const int32_t num_tokens = finish.usage().completion_tokens();
  const double decode_s = finish.timings().decode_s();
  // The first token comes with the prefill; decode_s runs from there to the last.
  const double tokens_per_s = decode_s > 0 && num_tokens > 1 ? (num_tokens - 1) / decode_s : 0;
  if (!options_.is_json) {
    fmt::print(stderr,
               "[{} bits, {} prompt tokens, {} tokens at {:.1f}/s, first text after {:.2f} s, "
               "ended by {}]\n",
               BitsText(finish.weight_bits()), finish.usage().prompt_tokens(), num_tokens,
               tokens_per_s, answer.first_text_s, Name(finish.reason()));
    return;
  }
  ordered_json json = {{"text", answer.text},
                       {"token_ids", answer.token_ids},
                       {"bits", finish.weight_bits()},
                       {"finish_reason", Name(finish.reason())},
                       {"prompt_tokens", finish.usage().prompt_tokens()},
                       {"completion_tokens", num_tokens},
                       {"decode_tokens_per_s", tokens_per_s},
                       {"queue_s", finish.timings().queue_s()},
                       {"prefill_s", finish.timings().prefill_s()},
                       {"decode_s", decode_s},
                       {"first_text_s", answer.first_text_s},
                       {"total_s", answer.total_s},
                       {"seed", finish.seed()},
                       {"request_id", answer.request_id}};
  if (finish.weight_bits() == 0) json["bits"] = "dense";
  std::cout << JsonText(json) << std::endl;
}

}  // namespace bitdial::server
