#include "server/config/config.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "quant/container/utf8.h"
#include "server/config/address.h"

namespace bitdial::server {
namespace {

constexpr int64_t kMaxInt32 = INT32_MAX;
constexpr int64_t kTera = int64_t{1} << 40;

#define SLOT(member) [](ServerConfig& config) -> ConfigSlot { return &config.member; }

// One key a row, so that the table reads as one.
// clang-format off
std::vector<ConfigKey> MakeKeys() {
  return {
      {"about", SLOT(about), "", 0, 0, {},
       "A note for the reader of the file; the server does not use it."},
      {"listen", SLOT(listen), "", 0, 0, {},
       "ADDR:PORT to listen on; port 0 takes any free one."},
      {"model_name", SLOT(model_name), "", 0, 0, {},
       "What requests call the model; empty: the last part of MODEL."},
      {"allow_insecure_remote", SLOT(allow_insecure_remote), "", 0, 0, {},
       "Listen beyond this machine although there is no encryption and no authentication yet."},
      {"metrics_listen", SLOT(metrics_listen), "", 0, 0, {},
       "ADDR:PORT that answers Prometheus over plain HTTP at /metrics; empty: nowhere."},
      {"allow_remote_metrics", SLOT(allow_remote_metrics), "", 0, 0, {},
       "Let metrics_listen be reached from other machines: whoever can may read the model's name "
       "and how much it is used, no prompt and no answer."},
      {"threads", SLOT(threads), "threads", 0, 1024, {},
       "Compute threads; 0: every available core."},
      {"kv_format", SLOT(kv_format), "", 0, 0, {"f16", "f32"},
       "How the KV cache stores keys and values."},
      {"numerics", SLOT(numerics), "", 0, 0, {"exact", "int8"},
       "What kernels over bit-planes round: nothing but fp32 arithmetic, or activations (and, for "
       "the rows of a prompt, rebuilt weights) to 8 bits."},
      {"kv_cache_bytes", SLOT(kv_cache_bytes), "bytes", 0, 64 * kTera, {},
       "KV cache of all sequences; 0: room for 4 of max_context, at most a quarter of the "
       "memory."},
      {"max_context", SLOT(max_context), "tokens", 0, 1 << 26, {},
       "Prompt and output of one request; 0: the model's own, at most 8192."},
      {"max_running_requests", SLOT(max_running_requests), "requests", 1, 65536, {},
       "Requests that advance together."},
      {"max_queued_requests", SLOT(max_queued_requests), "requests", 1, 1 << 20, {},
       "Requests waiting; beyond it RESOURCE_EXHAUSTED."},
      {"max_queued_tokens", SLOT(max_queued_tokens), "tokens", 1, int64_t{1} << 32, {},
       "Prompt tokens waiting; beyond it RESOURCE_EXHAUSTED."},
      {"max_step_tokens", SLOT(max_step_tokens), "tokens", 1, 1 << 20, {},
       "Token budget of one engine step."},
      {"default_max_tokens", SLOT(request.default_max_tokens), "tokens", 1, kMaxInt32, {},
       "Output length of a request that sets no max_tokens (or the room left in the context, "
       "if less)."},
      {"max_stop_strings", SLOT(request.max_stop_strings), "strings", 0, 1024, {},
       "Stop strings of one request."},
      {"max_stop_bytes", SLOT(request.max_stop_bytes), "bytes", 1, 65536, {},
       "Length of one stop string."},
      {"max_stop_token_ids", SLOT(request.max_stop_token_ids), "ids", 0, 65536, {},
       "Stop token ids of one request."},
      {"max_logit_bias", SLOT(request.max_logit_bias), "entries", 0, 1 << 20, {},
       "logit_bias entries of one request."},
      {"max_top_logprobs", SLOT(request.max_top_logprobs), "tokens", 0, 1024, {},
       "top_logprobs of one request."},
      {"max_chat_messages", SLOT(request.max_chat_messages), "messages", 1, 1 << 20, {},
       "Messages of one Chat request."},
      {"max_detokenize_ids", SLOT(request.max_detokenize_ids), "ids", 1, 1 << 24, {},
       "Ids of one Detokenize request."},
      {"max_message_bytes", SLOT(max_message_bytes), "bytes", 1024, int64_t{1} << 30, {},
       "Size of one request message."},
      {"max_metadata_bytes", SLOT(max_metadata_bytes), "bytes", 1024, 1 << 20, {},
       "Size of one request's headers."},
      {"max_concurrent_streams", SLOT(max_concurrent_streams), "streams", 1, 1 << 20, {},
       "Calls in flight on one connection; more wait in the client."},
      {"max_rpc_memory_bytes", SLOT(max_rpc_memory_bytes), "bytes", 16 << 20, kTera, {},
       "Memory gRPC may use for its buffers."},
      {"max_unread_tokens", SLOT(max_unread_tokens), "tokens", 1, 1 << 20, {},
       "Tokens kept for a client that does not read; beyond it its request ends with "
       "RESOURCE_EXHAUSTED."},
      {"drain_timeout_s", SLOT(drain_timeout_s), "seconds", 0, 86400, {},
       "After SIGTERM or SIGINT, how long running requests may go on before they are cancelled."},
      {"stall_timeout_s", SLOT(stall_timeout_s), "seconds", 0, 86400, {},
       "Health turns NOT_SERVING while there is work and no step has ended for so long; 0: never."},
      {"log_format", SLOT(log_format), "", 0, 0, {"text", "json"},
       "Lines on stderr."},
      {"log_level", SLOT(log_level), "", 0, 0, {"trace", "debug", "info", "warn", "error", "off"},
       "The least important lines written."},
  };
}
// clang-format on
#undef SLOT

std::string Join(const std::vector<std::string>& words) {
  std::string joined;
  for (const std::string& word : words) joined += (joined.empty() ? "" : ", ") + word;
  return joined;
}

absl::Status CheckChoice(const ConfigKey& key, const std::string& value, const std::string& what) {
  if (key.choices.empty() ||
      std::find(key.choices.begin(), key.choices.end(), value) != key.choices.end()) {
    return absl::OkStatus();
  }
  return InvalidArgument("{}: \"{}\" is \"{}\"; expected one of {}", what, key.name, value,
                         Join(key.choices));
}

}  // namespace

const std::vector<ConfigKey>& ConfigKeys() {
  static const std::vector<ConfigKey> keys = MakeKeys();
  return keys;
}

const ConfigKey* FindConfigKey(const std::string& name) {
  for (const ConfigKey& key : ConfigKeys()) {
    if (key.name == name) return &key;
  }
  return nullptr;
}

std::string EnvironmentName(const ConfigKey& key) {
  std::string name = "BITDIAL_";
  for (const char* c = key.name; *c != '\0'; ++c) name += static_cast<char>(std::toupper(*c));
  return name;
}

std::string FlagName(const ConfigKey& key) {
  std::string name = std::string("--") + key.name;
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

absl::Status ApplyJson(const Json& json, const std::string& what, ServerConfig& config) {
  BITDIAL_ASSIGN_OR_RETURN(JsonObject reader, JsonObject::Make(json, what));
  for (const ConfigKey& key : ConfigKeys()) {
    if (reader.Has(key.name)) config.set_by[key.name] = what;
    const ConfigSlot slot = key.slot(config);
    if (bool* const* flag = std::get_if<bool*>(&slot)) {
      BITDIAL_ASSIGN_OR_RETURN(**flag, reader.GetBoolOr(key.name, **flag));
    } else if (int64_t* const* number = std::get_if<int64_t*>(&slot)) {
      BITDIAL_ASSIGN_OR_RETURN(**number, reader.GetIntOr(key.name, **number, key.min, key.max));
    } else {
      std::string& text = *std::get<std::string*>(slot);
      BITDIAL_ASSIGN_OR_RETURN(text, reader.GetStringOr(key.name, text));
      BITDIAL_RETURN_IF_ERROR(CheckChoice(key, text, what));
    }
  }
  return reader.RefuseUnknownKeys();
}

absl::Status ApplyText(const ConfigKey& key, const std::string& text, const std::string& what,
                       ServerConfig& config) {
  config.set_by[key.name] = what;
  const ConfigSlot slot = key.slot(config);
  if (bool* const* flag = std::get_if<bool*>(&slot)) {
    if (text != "true" && text != "false" && text != "1" && text != "0") {
      return InvalidArgument("{}: got \"{}\"; expected true or false", what, text);
    }
    **flag = text == "true" || text == "1";
    return absl::OkStatus();
  }
  if (int64_t* const* number = std::get_if<int64_t*>(&slot)) {
    int64_t value = 0;
    const char* const end = text.data() + text.size();
    const std::from_chars_result parsed = std::from_chars(text.data(), end, value);
    if (parsed.ec != std::errc() || parsed.ptr != end || value < key.min || value > key.max) {
      return InvalidArgument("{}: got \"{}\"; expected a whole number in [{}, {}]{}", what, text,
                             key.min, key.max,
                             *key.unit == '\0' ? "" : std::string(" ") + key.unit);
    }
    **number = value;
    return absl::OkStatus();
  }
  BITDIAL_RETURN_IF_ERROR(CheckChoice(key, text, what));
  *std::get<std::string*>(slot) = text;
  return absl::OkStatus();
}

absl::StatusOr<ServerConfig> LoadConfig(const ConfigSources& sources) {
  ServerConfig config;
  BITDIAL_RETURN_IF_ERROR(RefuseUnknownVariables(sources.environment));
  if (!sources.file.empty()) {
    // Far more than any real config; a wrong path to a weight file is not read whole.
    BITDIAL_ASSIGN_OR_RETURN(const Json json,
                             ReadJsonFile(sources.file, {.max_bytes = 1 << 20, .max_depth = 8}));
    BITDIAL_RETURN_IF_ERROR(ApplyJson(json, sources.file, config));
  }
  for (const ConfigKey& key : ConfigKeys()) {
    const auto variable = sources.environment.find(EnvironmentName(key));
    if (variable != sources.environment.end()) {
      BITDIAL_RETURN_IF_ERROR(
          ApplyText(key, variable->second, "environment variable " + variable->first, config));
    }
    if (auto flag = sources.flags.find(key.name); flag != sources.flags.end()) {
      BITDIAL_RETURN_IF_ERROR(ApplyText(key, flag->second, FlagName(key), config));
    }
  }
  BITDIAL_RETURN_IF_ERROR(NameSource(CheckConfig(config), config));
  return config;
}

const ConfigKey* KeyOf(const absl::Status& status) {
  const std::string message(status.message());
  return FindConfigKey(message.substr(0, message.find(' ')));
}

absl::Status NameSource(const absl::Status& status, const ServerConfig& config) {
  const ConfigKey* key = KeyOf(status);
  const auto source = config.set_by.find(key == nullptr ? "" : key->name);
  return source == config.set_by.end() ? status : Annotate(status, source->second);
}

namespace {
absl::Status CheckMetricsListen(const ServerConfig& config) {
  if (config.metrics_listen.empty()) {
    if (!config.allow_remote_metrics) return absl::OkStatus();
    return InvalidArgument(
        "allow_remote_metrics has no effect without metrics_listen: say where, or leave it out");
  }
  BITDIAL_ASSIGN_OR_RETURN(const Address address,
                           ParseAddress(config.metrics_listen, "metrics_listen"));
  if (address.is_loopback || config.allow_remote_metrics) return absl::OkStatus();
  return InvalidArgument(
      "metrics_listen \"{}\" can be reached from other machines, without encryption or "
      "authentication: anybody who reaches it can read the model's name and how much it is used; "
      "listen on 127.0.0.1, or say --allow-remote-metrics (\"allow_remote_metrics\": true)",
      config.metrics_listen);
}
}  // namespace

absl::Status CheckConfig(const ServerConfig& config) {
  BITDIAL_ASSIGN_OR_RETURN(const Address address, ParseAddress(config.listen, "listen"));
  if (!address.is_loopback && !config.allow_insecure_remote) {
    return InvalidArgument(
        "listen \"{}\" can be reached from other machines, but this version has no TLS and no "
        "authentication: anybody who "
        "reaches the port can use the model and read the traffic; listen on 127.0.0.1, or say "
        "--allow-insecure-remote "
        "(\"allow_insecure_remote\": true) when something in front protects it",
        config.listen);
  }
  BITDIAL_RETURN_IF_ERROR(CheckMetricsListen(config));
  constexpr size_t kMaxNameBytes = 256;
  if (config.model_name.size() > kMaxNameBytes || !quant::IsUtf8(config.model_name)) {
    return InvalidArgument("model_name of {} bytes; expected UTF-8 of at most {}",
                           config.model_name.size(), kMaxNameBytes);
  }
  return absl::OkStatus();
}

std::string ToJsonText(const ServerConfig& config) {
  ServerConfig copy = config;
  nlohmann::ordered_json json;
  for (const ConfigKey& key : ConfigKeys()) {
    std::visit([&](const auto* value) { json[key.name] = *value; }, key.slot(copy));
  }
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

engine::EngineOptions ToEngineOptions(const ServerConfig& config) {
  engine::EngineOptions options;
  options.num_threads = static_cast<int>(config.threads);
  options.kv_format = config.kv_format == "f32" ? kernels::KvFormat::kF32 : kernels::KvFormat::kF16;
  options.max_context = config.max_context;
  options.kv_cache_bytes = config.kv_cache_bytes;
  options.max_running_requests = static_cast<int32_t>(config.max_running_requests);
  options.max_queued_requests = static_cast<int32_t>(config.max_queued_requests);
  options.max_queued_tokens = config.max_queued_tokens;
  options.max_step_tokens = static_cast<int32_t>(config.max_step_tokens);
  return options;
}

}  // namespace bitdial::server
