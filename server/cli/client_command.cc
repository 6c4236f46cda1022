// bitdial client: one question to a running server.
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>

#include "quant/container/utf8.h"
#include "server/cli/client.h"
#include "server/cli/command.h"
#include "server/cli/signals.h"
#include "server/rpc/byte_buffer.h"

namespace bitdial::server {
namespace {

constexpr double kMinTimeoutSeconds = 0.001;  // gRPC's deadlines are set in milliseconds here
// A year: longer than any answer, and what the server takes for no deadline at all.
constexpr double kMaxTimeoutSeconds = 365.0 * 24 * 3600;

struct ClientFlags {
  ClientOptions options;
  bool has_prompt = false;
  bool asks_health = false;
  bool asks_model = false;
};

// Protobuf would send it and the server refuse it, naming no field.
absl::Status CheckUtf8(const ClientOptions& options) {
  const auto check = [](const char* flag, const std::string& text) {
    return quant::IsUtf8(text) ? absl::OkStatus() : InvalidArgument("{}: is not UTF-8", flag);
  };
  BITDIAL_RETURN_IF_ERROR(check("--prompt", options.prompt));
  BITDIAL_RETURN_IF_ERROR(check("--system", options.system));
  for (const std::string& stop : options.stop) BITDIAL_RETURN_IF_ERROR(check("--stop", stop));
  return absl::OkStatus();
}

absl::Status CheckUse(const ClientFlags& flags, const ClientOptions& options) {
  if (!flags.asks_health && !flags.asks_model && !flags.has_prompt) {
    return InvalidArgument(
        "client: say --prompt TEXT, --prompt - (standard input), --health or --model-info");
  }
  if (!options.system.empty() && !options.is_chat) return InvalidArgument("--system needs --chat");
  return absl::OkStatus();
}

absl::Status ReadPrompt(const ClientFlags& flags, ClientOptions& options) {
  if (flags.has_prompt && options.prompt == "-") {
    options.prompt.assign(std::istreambuf_iterator<char>(std::cin),
                          std::istreambuf_iterator<char>());
  }
  return CheckUtf8(options);
}

int RunClient(const ClientFlags& flags) {
  ClientOptions options = flags.options;
  if (const absl::Status status = CheckUse(flags, options); !status.ok()) return Report(status);
  if (const absl::Status status = ReadPrompt(flags, options); !status.ok()) return Report(status);
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);  // errors come back as statuses
  SilenceProtobuf();
  BlockSignals();
  const absl::StatusOr<Connection> connection = Connect(options.connection);
  if (!connection.ok()) return Report(connection.status());
  Client client(options, *connection);
  std::atomic<int> signalled{0};
  const SignalThread signals([&](int signal) {
    signalled = signal;
    client.Cancel();
  });
  const absl::Status status = flags.asks_health  ? client.CheckHealth()
                              : flags.asks_model ? client.ShowModel()
                                                 : client.Ask();
  if (signalled != 0) return 128 + signalled;
  return Report(status);
}

}  // namespace

void AddClientCommand(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<ClientFlags>();
  ClientOptions* const options = &flags->options;
  CLI::App* command = app.add_subcommand(
      "client",
      "Ask a running server. The text goes to stdout as it comes, one line of figures to "
      "stderr. Examples:\n\n"
      "  bitdial client --chat --prompt \"What is the capital of France?\" --bits 3\n"
      "  bitdial client --prompt - --max-tokens 64 --json < prompt.txt\n"
      "  bitdial client --health");
  AddConnectionFlags(*command, options->connection);
  CLI::Option* prompt =
      command->add_option("--prompt", options->prompt, "Text to continue; - reads standard input");
  command->add_option("--bits", options->bits,
                      "Bits per weight to read: a number of --model-info, or dense");
  command->add_flag("--chat", options->is_chat,
                    "The prompt is a user's message, laid out by the model's chat template");
  command->add_option("--system", options->system, "System message (with --chat)");
  command->add_option("--max-tokens", options->max_tokens, "Length of the answer at most")
      ->check(CLI::Range(0, INT32_MAX));
  command->add_option("--temperature", options->temperature, "0 is greedy")
      ->check(NumberIn(0, 100));
  command->add_option("--seed", options->seed, "Same seed, same answer")->check(IsSeed());
  command->add_option("--stop", options->stop, "Text that ends the answer; may be given again")
      ->take_all();
  command->add_flag("--ignore-eos", options->ignore_eos, "Go on after the model's end of sequence");
  command
      ->add_option("--timeout", options->timeout_s,
                   "Seconds until both sides give up (exit code 10)")
      ->check(NumberIn(kMinTimeoutSeconds, kMaxTimeoutSeconds));
  command->add_flag("--json", options->is_json, "One JSON object on stdout");
  command->add_flag("--health", flags->asks_health,
                    "Print the health; exit code 0 only when SERVING");
  command->add_flag("--model-info", flags->asks_model, "Print what the server serves");
  command->callback([flags, prompt, &exit_code] {
    flags->has_prompt = prompt->count() > 0;
    exit_code = RunClient(*flags);
  });
}

}  // namespace bitdial::server
