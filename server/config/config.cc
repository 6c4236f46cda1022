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
       "Listen beyond this machine without TLS, or without API keys and client certificates."},
      {"reflection", SLOT(reflection), "", 0, 0, {"auto", "on", "off"},
       "Tell clients the proto by gRPC reflection, which asks for no key; auto: only without keys_file."},
      {"metrics_listen", SLOT(metrics_listen), "", 0, 0, {},
       "ADDR:PORT that answers Prometheus over plain HTTP at /metrics; empty: nowhere."},
      {"allow_remote_metrics", SLOT(allow_remote_metrics), "", 0, 0, {},
       "Let metrics_listen be reached from other machines: whoever can may read the model's name "
       "and how much it is used, no prompt and no answer."},
      {"tls_cert", SLOT(tls_cert), "", 0, 0, {},
       "PEM file of the server's certificate and its chain; turns TLS on."},
      {"tls_key", SLOT(tls_key), "", 0, 0, {},
       "PEM file of the certificate's private key, without a passphrase."},
      {"tls_client_ca", SLOT(tls_client_ca), "", 0, 0, {},
       "PEM file of the authorities whose clients may connect; turns client certificates on."},
      {"keys_file", SLOT(keys_file), "", 0, 0, {},
       "File of hashed API keys, made with `bitdial keys new`; every call then needs one."},
      {"admin_listen", SLOT(admin_listen), "", 0, 0, {},
       "ADDR:PORT or unix:/PATH of the admin service; empty: there is none."},
      {"threads", SLOT(threads), "threads", 0, 1024, {},
       "Compute threads; 0: every available core."},
      {"kv_format", SLOT(kv_format), "", 0, 0, {"f16", "f32"},
       "How the KV cache stores keys and values."},
      {"numerics", SLOT(numerics), "", 0, 0, {"exact", "int16", "int8"},
       "What kernels over bit-planes round: nothing but fp32 arithmetic, sums of activations to 11 "
       "bits (prompts exact), or activations and the scales of planes to 8 bits."},
      {"kv_cache_bytes", SLOT(kv_cache_bytes), "bytes", 0, 64 * kTera, {},
       "KV cache of all sequences; 0: room for 4 of max_context, at most a quarter of the "
       "memory."},
      {"max_context", SLOT(max_context), "tokens", 0, 1 << 26, {},
       "Prompt and output of one request; 0: the model's own, at most 8192."},
      {"max_running_requests", SLOT(max_running_requests), "requests", 1, 65536, {},
       "Requests that advance together."},
      {"max_queued_requests", SLOT(max_queued_requests), "requests", 1, 1 << 20, {},
       "Requests waiting, beyond those for whom a place is free; more get RESOURCE_EXHAUSTED."},
      {"max_queued_tokens", SLOT(max_queued_tokens), "tokens", 1, int64_t{1} << 32, {},
       "Prompt tokens waiting; beyond it RESOURCE_EXHAUSTED."},
      {"max_step_tokens", SLOT(max_step_tokens), "tokens", 1, 1 << 20, {},
       "Token budget of one engine step."},
      {"prompt_chunk", SLOT(prompt_chunk), "tokens", 1, 1 << 20, {},
       "Prompts that do not fit a step whole are cut at multiples of it: a divisor or a multiple of "
       "32."},
      {"kv_admission", SLOT(kv_admission), "", 0, 0, {"reserve", "optimistic"},
       "When a waiting request may begin: when its longest answer fits the KV cache, or when what "
       "it has now fits; then more run at once, and the last may have to give way and recompute."},
      {"prefix_cache", SLOT(prefix_cache), "", 0, 0, {},
       "Keep the KV of prompts, and take it where a later prompt of the same caller begins alike."},
      {"share_prefixes", SLOT(share_prefixes), "", 0, 0, {},
       "Take it from other callers' prompts too; how fast an answer begins then tells what others "
       "asked."},
      {"priority_step_ms", SLOT(priority_step_ms), "milliseconds", 0, 86'400'000, {},
       "Head start in the queue of one level of priority."},
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
      {"max_choices", SLOT(request.max_choices), "choices", 1, engine::kMaxChoices, {},
       "n of one request."},
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
      {"max_active_requests", SLOT(max_active_requests), "requests", 1, 1 << 20, {},
       "Generate and Chat calls open at a time; beyond it RESOURCE_EXHAUSTED."},
      {"max_connection_idle_s", SLOT(max_connection_idle_s), "seconds", 0, 86400 * 365, {},
       "A connection without calls for so long is closed; 0: never."},
      {"max_connection_age_s", SLOT(max_connection_age_s), "seconds", 0, 86400 * 365, {},
       "A connection this old takes no more calls, so that clients spread over servers; 0: never."},
      {"max_connection_age_grace_s", SLOT(max_connection_age_grace_s), "seconds", 0, 86400 * 365, {},
       "How long calls of such a connection may go on; 0: to their end."},
      {"max_rpc_memory_bytes", SLOT(max_rpc_memory_bytes), "bytes", 16 << 20, kTera, {},
       "Memory gRPC may use for its buffers."},
      {"max_unread_tokens", SLOT(max_unread_tokens), "tokens", 1, 1 << 20, {},
       "Tokens kept for a client that reads slower than they are made; at that many its request is "
       "paused until half of them are read."},
      {"slow_reader_timeout_s", SLOT(slow_reader_timeout_s), "seconds", 0, 86'400, {},
       "How long it may be paused before it ends with RESOURCE_EXHAUSTED."},
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

// A key that would change nothing is a mistake of whoever set it.
absl::Status CheckTlsKeys(const ServerConfig& config) {
  if (!config.tls_cert.empty() && config.tls_key.empty()) {
    return InvalidArgument("tls_cert {} needs its key; give tls_key too", config.tls_cert);
  }
  if (config.tls_cert.empty() && !config.tls_key.empty()) {
    return InvalidArgument("tls_key {} has no effect without tls_cert; give both or none",
                           config.tls_key);
  }
  if (config.tls_cert.empty() && !config.tls_client_ca.empty()) {
    return InvalidArgument("tls_client_ca {} has no effect without tls_cert and tls_key",
                           config.tls_client_ca);
  }
  return absl::OkStatus();
}

// An address beyond this machine needs both: nobody on the way reads or changes what is said, and
// the server knows who asks.
bool KnowsCallers(bool is_admin, const ServerConfig& config) {
  // A client certificate has no scopes.
  return !config.keys_file.empty() || (!config.tls_client_ca.empty() && !is_admin);
}

absl::Status CheckRemote(const char* key, const std::string& address, const ServerConfig& config) {
  const bool has_tls = !config.tls_cert.empty();
  const bool is_admin = std::string(key) == "admin_listen";
  const bool knows_callers = KnowsCallers(is_admin, config);
  if ((has_tls && knows_callers) || config.allow_insecure_remote) return absl::OkStatus();
  const char* danger = "there is no authentication, so anybody who reaches the port can use it";
  const char* missing = is_admin ? "keys_file" : "keys_file or tls_client_ca";
  if (!has_tls) {
    danger = knows_callers
                 ? "there is no TLS, so the API keys and all traffic can be read on the way"
                 : "there is no TLS and no authentication, so anybody who reaches the port "
                   "can use the model and read the traffic";
    missing = knows_callers ? "tls_cert and tls_key" : "tls_cert, tls_key and keys_file";
  }
  return InvalidArgument(
      "{} \"{}\" can be reached from other machines: {}; give {}, listen on 127.0.0.1, or say "
      "--allow-insecure-remote (\"allow_insecure_remote\": true) when something in front protects "
      "it",
      key, address, danger, missing);
}

absl::Status CheckAdmin(const ServerConfig& config) {
  if (config.admin_listen.empty()) return absl::OkStatus();
  if (IsUnixAddress(config.admin_listen))
    return CheckUnixAddress(config.admin_listen, "admin_listen");
  BITDIAL_ASSIGN_OR_RETURN(const Address address,
                           ParseAddress(config.admin_listen, "admin_listen"));
  if (address.port != 0 && config.admin_listen == config.listen) {
    return InvalidArgument("admin_listen \"{}\" is the address of listen; give it its own",
                           config.admin_listen);
  }
  return address.is_loopback ? absl::OkStatus()
                             : CheckRemote("admin_listen", config.admin_listen, config);
}

absl::Status CheckMetricsListen(const ServerConfig& config) {
  if (config.metrics_listen.empty()) {
    if (!config.allow_remote_metrics) return absl::OkStatus();
    return InvalidArgument(
        "allow_remote_metrics has no effect without metrics_listen: say where, or leave it out");
  }
  BITDIAL_ASSIGN_OR_RETURN(const Address address,
                           ParseAddress(config.metrics_listen, "metrics_listen"));
  for (const auto& [key, taken] : {std::pair("listen", &config.listen),
                                   std::pair("admin_listen", &config.admin_listen)}) {
    if (address.port != 0 && config.metrics_listen == *taken) {
      return InvalidArgument("metrics_listen \"{}\" is the address of {}; give it its own",
                             config.metrics_listen, key);
    }
  }
  if (address.is_loopback && config.allow_remote_metrics) {
    return InvalidArgument(
        "allow_remote_metrics has no effect: metrics_listen \"{}\" is on this machine; leave it out",
        config.metrics_listen);
  }
  if (address.is_loopback || config.allow_remote_metrics) return absl::OkStatus();
  return InvalidArgument(
      "metrics_listen \"{}\" can be reached from other machines, without encryption or "
      "authentication: anybody who reaches it can read the model's name and how much it is used; "
      "listen on 127.0.0.1, or say --allow-remote-metrics (\"allow_remote_metrics\": true)",
      config.metrics_listen);
}

// 0 for a default, 1 for a file, 2 for a variable, 3 for a flag: later sources win.
int SourceRank(const ServerConfig& config, const char* key) {
  const auto source = config.set_by.find(key);
  if (source == config.set_by.end()) return 0;
  if (source->second.rfind("--", 0) == 0) return 3;
  return source->second.rfind("environment variable", 0) == 0 ? 2 : 1;
}

// Each address of the configuration is good already.
absl::Status CheckInsecureRemote(const ServerConfig& config) {
  if (!config.allow_insecure_remote) return absl::OkStatus();
  // What a file allows for its own addresses is not wrong because a flag has changed them.
  for (const char* key : {"listen", "admin_listen", "tls_cert", "tls_client_ca", "keys_file"}) {
    if (SourceRank(config, key) > SourceRank(config, "allow_insecure_remote"))
      return absl::OkStatus();
  }
  for (const bool is_admin : {false, true}) {
    const std::string& address = is_admin ? config.admin_listen : config.listen;
    if (address.empty() || IsUnixAddress(address)) continue;
    BITDIAL_ASSIGN_OR_RETURN(const Address parsed, ParseAddress(address, "listen"));
    const bool is_safe = !config.tls_cert.empty() && KnowsCallers(is_admin, config);
    if (!parsed.is_loopback && !is_safe) return absl::OkStatus();
  }
  return InvalidArgument(
      "allow_insecure_remote has no effect: every address is on this machine, or has TLS and "
      "authentication; leave it out, or make it false, so that it does not let in what changes later");
}

// Prompts: how they are cut, and who finds whose in the cache.
absl::Status CheckPrompts(const ServerConfig& config) {
  constexpr int64_t kBlockTokens = 32;  // of the KV cache: prompts share whole blocks
  if (config.prompt_chunk % kBlockTokens != 0 && kBlockTokens % config.prompt_chunk != 0) {
    return InvalidArgument(
        "prompt_chunk is {}, expected a divisor or a multiple of {}: prompts could hardly ever "
        "share their beginnings",
        config.prompt_chunk, kBlockTokens);
  }
  const int64_t most_in_step = config.max_running_requests - 1 + config.prompt_chunk;
  if (most_in_step > config.max_step_tokens) {
    return InvalidArgument(
        "max_step_tokens is {}, expected at least max_running_requests - 1 + prompt_chunk = {} - 1 + {} "
        "= {}: a step holds a token of everybody who runs beside a chunk of one prompt; raise it or "
        "lower those",
        config.max_step_tokens, config.max_running_requests, config.prompt_chunk, most_in_step);
  }
  if (!config.share_prefixes) return absl::OkStatus();
  if (!config.prefix_cache)
    return InvalidArgument("share_prefixes has no effect without prefix_cache; turn that on");
  if (config.keys_file.empty()) {
    return InvalidArgument(
        "share_prefixes has no effect without keys_file: without keys everybody is one caller, and "
        "shares; leave it out");
  }
  return absl::OkStatus();
}

absl::Status CheckLimits(const ServerConfig& config) {
  const int64_t num_in_engine = config.max_running_requests + config.max_queued_requests;
  if (config.max_active_requests < num_in_engine) {
    return InvalidArgument(
        "max_active_requests {} is less than max_running_requests + max_queued_requests, {}, which "
        "could never be reached; raise it or lower those",
        config.max_active_requests, num_in_engine);
  }
  if (config.max_connection_age_grace_s > 0 && config.max_connection_age_s == 0) {
    return InvalidArgument(
        "max_connection_age_grace_s {} has no effect without max_connection_age_s",
        config.max_connection_age_grace_s);
  }
  if (config.max_message_bytes > config.max_rpc_memory_bytes) {
    return InvalidArgument(
        "max_message_bytes {} is more than max_rpc_memory_bytes {}, which all messages share; raise "
        "that or lower it",
        config.max_message_bytes, config.max_rpc_memory_bytes);
  }
  const RequestLimits& request = config.request;
  if (request.max_stop_strings == 0 && request.max_stop_bytes != RequestLimits().max_stop_bytes) {
    return InvalidArgument(
        "max_stop_bytes {} has no effect: max_stop_strings is 0; leave it out, or allow some",
        request.max_stop_bytes);
  }
  if (request.default_max_tokens != RequestLimits().default_max_tokens && config.max_context > 0 &&
      request.default_max_tokens > config.max_context) {
    return InvalidArgument(
        "default_max_tokens {} is more than max_context {}, so it could never be reached; lower it",
        request.default_max_tokens, config.max_context);
  }
  return absl::OkStatus();
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

absl::Status CheckConfig(const ServerConfig& config) {
  BITDIAL_ASSIGN_OR_RETURN(const Address address, ParseAddress(config.listen, "listen"));
  BITDIAL_RETURN_IF_ERROR(CheckTlsKeys(config));
  if (!address.is_loopback) BITDIAL_RETURN_IF_ERROR(CheckRemote("listen", config.listen, config));
  BITDIAL_RETURN_IF_ERROR(CheckAdmin(config));
  BITDIAL_RETURN_IF_ERROR(CheckLimits(config));
  BITDIAL_RETURN_IF_ERROR(CheckInsecureRemote(config));
  BITDIAL_RETURN_IF_ERROR(CheckPrompts(config));
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
  options.prompt_chunk = static_cast<int32_t>(config.prompt_chunk);
  options.kv_admission = config.kv_admission == "optimistic" ? engine::KvAdmission::kOptimistic
                                                             : engine::KvAdmission::kReserve;
  options.prefix_cache = config.prefix_cache;
  options.priority_step = std::chrono::milliseconds(config.priority_step_ms);
  return options;
}

}  // namespace bitdial::server
