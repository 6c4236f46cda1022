// bitdial serve: a model over gRPC until SIGTERM or SIGINT.
#include <cstdio>
#include <future>
#include <map>
#include <optional>
#include <string>

#include "quant/container/utf8.h"
#include "server/cli/command.h"
#include "server/cli/end_watchdog.h"
#include "server/cli/signals.h"
#include "server/cli/text_table.h"
#include "server/config/config.h"
#include "server/config/logging.h"
#include "server/model/served_model.h"
#include "server/rpc/server.h"
#include "server/security/security.h"

namespace bitdial::server {
namespace {

struct ServeOptions {
  std::string model;
  std::string config_file;
  std::map<std::string, std::string> flags;  // config key -> value
  bool prints_config = false;
  bool checks_config = false;
};

// What the user sees when requests can come.
std::string ReadyLine(const ServedModel& model, const std::string& address) {
  const engine::ModelInfo& info = model.engine->model();
  std::string bits;
  for (int b : info.bits) bits += (bits.empty() ? "" : ", ") + BitsText(b);
  return fmt::format("Serving {} on {}  bits {} ({})  {}  weights {}, KV cache {}, resident {}",
                     model.name, address, bits, model.quantization_method(), info.backend,
                     HumanBytes(info.weight_bytes), HumanBytes(info.kv_cache_bytes),
                     HumanBytes(ResidentBytes()));
}

// A value of the configuration that only the model can refuse, with who set it.
absl::Status Explain(const absl::Status& status, const ServeOptions& options,
                     const ServerConfig& config) {
  const ConfigKey* key = status.ok() ? nullptr : KeyOf(status);
  if (key == nullptr || config.set_by.count(key->name) == 0) return status;
  const absl::Status named = NameSource(status, config);
  return options.flags.count(key->name) > 0 ? named : BlameConfig(named);
}

// A file that the configuration names and that is wrong: the configuration's fault, whatever the
// status says. A port that is taken is nobody's: its message begins with the key too.
absl::Status ExplainFile(const absl::Status& status, const ServeOptions& options,
                         const ServerConfig& config) {
  const std::string message(status.message());
  std::string key = message.substr(0, message.find_first_of(" :"));
  if (FindConfigKey(key) == nullptr || absl::IsResourceExhausted(status)) return status;
  const auto source = config.set_by.find(key);
  if (options.flags.count(key) > 0) return InvalidArgument("{}", message);
  return BlameConfig(source == config.set_by.end() ? status : Annotate(status, source->second));
}

// Beside drain_timeout_s: for what is cancelled then to end, and for gRPC to say so.
constexpr std::chrono::seconds kEndingTime(15);

// How the process is told to end, and that it does. Lives until the very end: also the last line of the
// log may hang.
class Ending {
 public:
  Ending()
      : signals_([this](int signal) {
          if (!is_ready_) std::_Exit(kExitOk);                      // nothing to drain yet
          if (is_ending_.exchange(true)) std::_Exit(128 + signal);  // Drain came before
          why_.set_value(fmt::format("signal {}", signal));
        }) {}

  void SetReady() { is_ready_ = true; }
  void Drain() {
    if (!is_ready_) std::_Exit(kExitOk);
    if (!is_ending_.exchange(true)) why_.set_value("Drain");
  }
  // Blocks until the process is told to end, and says by what; from then on it has so long.
  std::string Wait(std::chrono::seconds time) {
    std::string why = why_.get_future().get();
    watchdog_.emplace(time);
    return why;
  }

 private:
  std::promise<std::string> why_;
  std::atomic<bool> is_ready_{false}, is_ending_{false};
  const SignalThread signals_;  // after what it uses
  std::optional<EndWatchdog> watchdog_;
};

absl::Status ServeUntilSignal(const ServeOptions& options, const ServerConfig& config,
                              Ending& ending) {
  const std::string name =
      config.model_name.empty() ? NameOfModel(options.model) : config.model_name;
  if (!quant::IsUtf8(name)) {  // gRPC could not send it
    return InvalidArgument("the last part of {} is not UTF-8; name the model with --model-name",
                           options.model);
  }
  ServedModel model;  // outlives the server
  absl::StatusOr<std::unique_ptr<RpcServer>> started = RpcServer::Start(config, [&] { ending.Drain(); });
  if (!started.ok()) return ExplainFile(started.status(), options, config);
  std::unique_ptr<RpcServer> server = *std::move(started);
  spdlog::info("listening on {} ({}), loading {}", server->address(), server->security(),
               options.model);
  if (!server->admin_address().empty())
    spdlog::info("admin service on {}", server->admin_address());
  if (!server->metrics_address().empty())
    spdlog::info("metrics on http://{}/metrics", server->metrics_address());
  absl::StatusOr<ServedModel> loaded =
      LoadServedModel(options.model, ToEngineOptions(config), NumericsOf(config.numerics));
  if (!loaded.ok()) return Explain(loaded.status(), options, config);
  model = *std::move(loaded);
  model.name = name;
  if (!model.slow_reason.empty()) spdlog::warn("{}", model.slow_reason);
  for (const std::string& note : model.kernel_notes) spdlog::warn("{}", note);
  ending.SetReady();
  server->Serve(model);
  fmt::print("{}\n", ReadyLine(model, server->address()));
  std::fflush(stdout);

  const std::string why = ending.Wait(std::chrono::seconds(config.drain_timeout_s) + kEndingTime);
  spdlog::info("{}: draining for up to {} s; a second signal ends at once", why,
               config.drain_timeout_s);
  const int64_t num_cancelled = server->Drain(std::chrono::seconds(config.drain_timeout_s));
  server.reset();
  spdlog::info("drained; {} requests were cancelled", num_cancelled);
  return absl::OkStatus();
}

absl::StatusOr<ServerConfig> LoadServeConfig(const ServeOptions& options) {
  ConfigSources sources = {
      .file = options.config_file, .environment = ReadEnvironment(), .flags = options.flags};
  absl::StatusOr<ServerConfig> config = LoadConfig(sources);
  if (config.ok()) return config;
  sources.flags.clear();  // wrong without the flags too: then it is the file or the environment
  const bool is_flags_fault = !options.flags.empty() && LoadConfig(sources).ok();
  return is_flags_fault ? config.status() : BlameConfig(config.status());
}

int Serve(const ServeOptions& options) {
  const absl::StatusOr<ServerConfig> config = LoadServeConfig(options);
  if (!config.ok()) return Report(config.status());
  if (options.prints_config) {
    fmt::print("{}\n", ToJsonText(*config));
    return kExitOk;
  }
  if (options.checks_config) {
    const absl::Status status = Security::Open(*config).status();  // its files too
    if (!status.ok()) return Report(ExplainFile(status, options, *config));
    fmt::print("config is good: {}\n", options.config_file.empty()
                                           ? "no file; defaults, environment and flags"
                                           : options.config_file + ", environment and flags");
    return kExitOk;
  }
  if (options.model.empty()) return Report(InvalidArgument("serve: MODEL is required"));
  BlockSignals();
  IgnoreForServing();
  Ending ending;
  StartLogging(config->log_format == "json" ? LogFormat::kJson : LogFormat::kText,
               config->log_level);
  const absl::Status status = ServeUntilSignal(options, *config, ending);
  StopLogging();
  return Report(status);
}

// What stands behind the flag in the help: "{f16|f32}", "tokens", "TEXT".
std::string ValueName(const ConfigKey& key) {
  if (key.choices.empty()) return *key.unit == '\0' ? "TEXT" : key.unit;
  std::string name;
  for (const std::string& choice : key.choices) name += (name.empty() ? "{" : "|") + choice;
  return name + "}";
}

// "--max-context tokens", from the table that also makes the file's keys.
void AddConfigFlags(CLI::App& command, ServeOptions& options) {
  for (const ConfigKey& key : ConfigKeys()) {
    const std::string name = key.name;
    if (name == "about") continue;
    const std::string help = std::string(key.meaning) + " [" + EnvironmentName(key) + "]";
    ServerConfig defaults;
    const ConfigSlot slot = key.slot(defaults);
    bool* const* const is_on = std::get_if<bool*>(&slot);
    if (is_on != nullptr && !**is_on) {
      command
          .add_flag_callback(
              FlagName(key), [&options, name] { options.flags[name] = "true"; }, help)
          ->group("Configuration");
      continue;
    }
    command
        .add_option_function<std::string>(
            FlagName(key),
            [&options, name](const std::string& value) { options.flags[name] = value; }, help)
        ->group("Configuration")
        ->type_name(is_on != nullptr ? "{true|false}" : ValueName(key));
  }
}

}  // namespace

void AddServeCommand(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* command = app.add_subcommand(
      "serve",
      "Serve a model over gRPC (bitdial.v1, health, reflection) until SIGTERM or SIGINT. "
      "Examples:\n\n"
      "  bitdial serve SmolLM2-bits\n"
      "  bitdial serve SmolLM2-bits --listen 127.0.0.1:6000 --threads 8 --config "
      "configs/cpu.json\n\n"
      "Order of configuration: defaults, file, environment, flag; docs/configuration.md lists "
      "every key.");
  command->add_option("MODEL", options->model,
                      "Hugging Face folder, GGUF file or quantized folder");
  command->add_option("--config", options->config_file, "JSON file of configuration keys")
      ->type_name("FILE");
  command->add_flag("--print-config", options->prints_config,
                    "Print the configuration in force as JSON and exit");
  command->add_flag("--check-config", options->checks_config, "Check the configuration and exit");
  AddConfigFlags(*command, *options);
  command->callback([options, &exit_code] { exit_code = Serve(*options); });
}

}  // namespace bitdial::server
