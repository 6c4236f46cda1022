// bitdial client: one question to a running server.
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bitdial/v1/inference.grpc.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/cli/command.h"
#include "server/cli/signals.h"
#include "server/cli/text_table.h"
#include "server/model/served_model.h"

namespace bitdial::server {
namespace {

using nlohmann::ordered_json;
using SteadyClock = std::chrono::steady_clock;

struct ClientOptions {
  std::string server = "127.0.0.1:50051";
  std::string prompt;
  bool has_prompt = false;
  std::string bits;
  bool is_chat = false;
  std::string system;
  int32_t max_tokens = -1;
  float temperature = -1;
  int64_t seed = -1;
  std::vector<std::string> stop;
  bool ignore_eos = false;
  double timeout_s = 0;
  bool is_json = false;
  bool asks_health = false;
  bool asks_model = false;
};

// What came back, and when.
struct Answer {
  std::string text;
  std::vector<int32_t> token_ids;
  std::string request_id;
  v1::Finish finish;
  double first_text_s = 0;
  double total_s = 0;
};

std::string JsonText(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

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

// The server's status with what the user can do about it.
absl::Status ToStatus(const grpc::Status& status, const std::string& server) {
  if (status.ok()) return absl::OkStatus();
  // A status of the server's own always has details; without them it comes from gRPC in this
  // process.
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && status.error_details().empty()) {
    return Unavailable("cannot reach a server at {}: {}; is `bitdial serve` running there?", server,
                       status.error_message());
  }
  // Not a file of this machine: a wrong value given to the server.
  const bool is_usage = status.error_code() == grpc::StatusCode::NOT_FOUND;
  const auto code = is_usage ? absl::StatusCode::kInvalidArgument
                             : static_cast<absl::StatusCode>(status.error_code());
  return MakeStatus(code, "{}: {}", server, status.error_message());
}

class Client {
 public:
  explicit Client(const ClientOptions& options)
      : options_(options),
        channel_(grpc::CreateChannel(options.server, grpc::InsecureChannelCredentials())),
        stub_(v1::InferenceService::NewStub(channel_)) {}

  absl::Status CheckHealth();
  absl::Status ShowModel();
  absl::Status Ask();
  // From the signal thread.
  void Cancel() {
    is_cancelled_ = true;
    context_.TryCancel();
  }

 private:
  absl::StatusOr<v1::RequestParams> MakeParams() const;
  template <typename Response>
  grpc::Status ReadAll(grpc::ClientReader<Response>& reader, Answer& answer);
  void PrintAnswer(const Answer& answer) const;
  void SetDeadline();

  const ClientOptions& options_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
  grpc::ClientContext context_;
  std::atomic<bool> is_cancelled_{false};
};

void Client::SetDeadline() {
  if (options_.timeout_s <= 0) return;
  context_.set_deadline(std::chrono::system_clock::now() +
                        std::chrono::milliseconds(static_cast<int64_t>(options_.timeout_s * 1000)));
}

absl::Status Client::CheckHealth() {
  SetDeadline();
  grpc::health::v1::HealthCheckRequest request;
  request.set_service("bitdial.v1.InferenceService");
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status =
      grpc::health::v1::Health::NewStub(channel_)->Check(&context_, request, &response);
  BITDIAL_RETURN_IF_ERROR(ToStatus(status, options_.server));
  const std::string word =
      grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status());
  std::cout << (options_.is_json ? JsonText({{"status", word}}) : word) << std::endl;
  if (response.status() == grpc::health::v1::HealthCheckResponse::SERVING) return absl::OkStatus();
  return Unavailable("{} is not serving (loading or shutting down)", options_.server);
}

absl::Status Client::ShowModel() {
  SetDeadline();
  v1::GetModelResponse model;
  BITDIAL_RETURN_IF_ERROR(ToStatus(stub_->GetModel(&context_, {}, &model), options_.server));
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
                             {"resident_bytes", model.resident_bytes()},
                             {"tokenizer", model.tokenizer()},
                             {"chat_template", model.chat_template()},
                             {"backend", model.backend()},
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
    if (!CLI::detail::lexical_cast(options_.bits, bits)) {
      return InvalidArgument("--bits \"{}\": expected a number or \"dense\"", options_.bits);
    }
    params.set_weight_bits(bits);
  }
  if (options_.max_tokens >= 0) params.mutable_stopping()->set_max_tokens(options_.max_tokens);
  if (options_.temperature >= 0) params.mutable_sampling()->set_temperature(options_.temperature);
  if (options_.seed >= 0) params.mutable_sampling()->set_seed(static_cast<uint64_t>(options_.seed));
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
  SetDeadline();
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
  if (is_cancelled_) return absl::CancelledError("cancelled");
  BITDIAL_RETURN_IF_ERROR(ToStatus(status, options_.server));
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

int RunClient(ClientOptions options) {
  if (!options.asks_health && !options.asks_model && !options.has_prompt) {
    return Report(InvalidArgument(
        "client: say --prompt TEXT, --prompt - (standard input), --health or --model-info"));
  }
  if (!options.system.empty() && !options.is_chat)
    return Report(InvalidArgument("--system needs --chat"));
  if (options.prompt == "-" && options.has_prompt) {
    options.prompt.assign(std::istreambuf_iterator<char>(std::cin),
                          std::istreambuf_iterator<char>());
  }
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);  // errors come back as statuses
  BlockSignals();
  Client client(options);
  std::atomic<int> signalled{0};
  const SignalThread signals([&](int signal) {
    signalled = signal;
    client.Cancel();
  });
  const absl::Status status = options.asks_health  ? client.CheckHealth()
                              : options.asks_model ? client.ShowModel()
                                                   : client.Ask();
  if (signalled != 0) return 128 + signalled;
  return Report(status);
}

}  // namespace

void AddClientCommand(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<ClientOptions>();
  CLI::App* command = app.add_subcommand(
      "client",
      "Ask a running server. The text goes to stdout as it comes, one line of figures to "
      "stderr. Examples:\n\n"
      "  bitdial client --chat --prompt \"What is the capital of France?\" --bits 3\n"
      "  bitdial client --prompt - --max-tokens 64 --json < prompt.txt\n"
      "  bitdial client --health");
  command->add_option("--server", options->server, "ADDR:PORT of the server")
      ->capture_default_str()
      ->envname("BITDIAL_SERVER");
  CLI::Option* prompt =
      command->add_option("--prompt", options->prompt, "Text to continue; - reads standard input");
  command->add_option("--bits", options->bits,
                      "Bits per weight to read: a number of --model-info, or dense");
  command->add_flag("--chat", options->is_chat,
                    "The prompt is a user's message, laid out by the model's chat template");
  command->add_option("--system", options->system, "System message (with --chat)");
  command->add_option("--max-tokens", options->max_tokens, "Length of the answer at most")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--temperature", options->temperature, "0 is greedy")
      ->check(CLI::Range(0.0, 100.0));
  command->add_option("--seed", options->seed, "Same seed, same answer")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--stop", options->stop, "Text that ends the answer; may be given again")
      ->take_all();
  command->add_flag("--ignore-eos", options->ignore_eos, "Go on after the model's end of sequence");
  command->add_option("--timeout", options->timeout_s, "Seconds until the server stops computing")
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", options->is_json, "One JSON object on stdout");
  command->add_flag("--health", options->asks_health,
                    "Print the health; exit code 0 only when SERVING");
  command->add_flag("--model-info", options->asks_model, "Print what the server serves");
  command->callback([options, prompt, &exit_code] {
    options->has_prompt = prompt->count() > 0;
    exit_code = RunClient(*options);
  });
}

}  // namespace bitdial::server
