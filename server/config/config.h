// What `bitdial serve` can be told. defaults < JSON file < environment (BITDIAL_<KEY>) < flag
// (--<key>).
//
// One table, ConfigKeys(), is the file's keys, the variables, the flags and --print-config;
// docs/configuration.md is held to it by a test.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "engine/engine.h"
#include "kernels/core/status.h"
#include "quant/container/json_reader.h"
#include "server/config/environment.h"

namespace bitdial::server {

// What one request may ask for. The validator's numbers.
struct RequestLimits {
  int64_t default_max_tokens = 512;
  int64_t max_stop_strings = 16;
  int64_t max_stop_bytes = 256;
  int64_t max_stop_token_ids = 64;
  int64_t max_logit_bias = 1024;
  int64_t max_top_logprobs = 20;
  int64_t max_choices = 8;
  int64_t max_chat_messages = 1024;
  int64_t max_detokenize_ids = 65536;
};

struct ServerConfig {
  std::string about;  // for the reader of the file; not used
  std::string listen = "127.0.0.1:50051";
  std::string model_name;  // empty: the last part of MODEL's path
  bool allow_insecure_remote = false;
  std::string reflection = "auto";  // "on" and "off": as they say; "auto": on unless there are keys
  std::string metrics_listen;       // empty: nowhere
  bool allow_remote_metrics = false;

  std::string tls_cert, tls_key, tls_client_ca;  // paths; empty: none
  std::string keys_file;                         // empty: no keys
  std::string admin_listen;                      // empty: no admin service

  int64_t threads = 0;
  std::string kv_format = "f16";
  std::string numerics = "int8";
  int64_t kv_cache_bytes = 0;
  int64_t max_context = 0;
  int64_t max_running_requests = 64;
  int64_t max_queued_requests = 256;
  int64_t max_queued_tokens = 1 << 20;
  int64_t max_step_tokens = 512;
  int64_t prompt_chunk = 32;
  std::string kv_admission = "reserve";
  bool prefix_cache = true;
  bool share_prefixes = false;
  int64_t priority_step_ms = 10'000;

  RequestLimits request;

  int64_t max_message_bytes = 4 << 20;
  int64_t max_metadata_bytes = 16 << 10;
  int64_t max_concurrent_streams = 128;
  int64_t max_active_requests = 4096;
  int64_t max_connection_idle_s = 1800;
  int64_t max_connection_age_s = 0;
  int64_t max_connection_age_grace_s = 0;
  int64_t max_rpc_memory_bytes = 256 << 20;
  int64_t max_unread_tokens = 1024;
  int64_t slow_reader_timeout_s = 30;
  int64_t drain_timeout_s = 30;
  int64_t stall_timeout_s = 60;

  std::string log_format = "text";
  std::string log_level = "info";

  // Who set a key last, by its name, as messages say it: "cpu.json", "environment variable
  // BITDIAL_THREADS", "--threads". Keys at their defaults are absent. Not a key itself.
  std::map<std::string, std::string> set_by;
};

using ConfigSlot = std::variant<bool*, int64_t*, std::string*>;

struct ConfigKey {
  const char* name;  // in the file; BITDIAL_<NAME> in the environment, --<na-me> as a flag
  ConfigSlot (*slot)(ServerConfig&);
  const char* unit;                  // "" for none
  int64_t min = 0, max = 0;          // of an integer
  std::vector<std::string> choices;  // of a string; empty: any
  const char* meaning;
};

const std::vector<ConfigKey>& ConfigKeys();
const ConfigKey* FindConfigKey(const std::string& name);  // nullptr: there is none
std::string EnvironmentName(const ConfigKey& key);        // "BITDIAL_MAX_CONTEXT"
std::string FlagName(const ConfigKey& key);               // "--max-context"

// Takes the members of a JSON object. `what` names the source in messages and in set_by.
// Errors  INVALID_ARGUMENT an unknown key (names the nearest), a wrong type, a value out of range.
absl::Status ApplyJson(const Json& json, const std::string& what, ServerConfig& config);
// Takes one value as text, as the environment and flags give it; `what` as above.
// Errors  INVALID_ARGUMENT naming `what`.
absl::Status ApplyText(const ConfigKey& key, const std::string& text, const std::string& what,
                       ServerConfig& config);

struct ConfigSources {
  std::string file;                          // empty: none
  Environment environment;                   // BITDIAL_* variables
  std::map<std::string, std::string> flags;  // key name -> value
};

// All sources in their order, then the checks that need more than one key.
// Errors  INVALID_ARGUMENT; NOT_FOUND or DATA_LOSS of the file. They name the source.
absl::StatusOr<ServerConfig> LoadConfig(const ConfigSources& sources);

// INVALID_ARGUMENT: an address is none, or leaves this machine without TLS and authentication (for
// metrics_listen, which has neither: at all) and without the key that allows it; a key that would
// have no effect without another; limits that contradict each other. Reads no file.
absl::Status CheckConfig(const ServerConfig& config);

// Whoever refuses a value begins the message with its key ("max_context 9 is ..."): the same status
// with who set that key in front, unchanged when nobody did.
absl::Status NameSource(const absl::Status& status, const ServerConfig& config);
// The key that such a message begins with; nullptr: none.
const ConfigKey* KeyOf(const absl::Status& status);

// Every key, in the table's order; ApplyJson takes it back.
std::string ToJsonText(const ServerConfig& config);

engine::EngineOptions ToEngineOptions(const ServerConfig& config);

}  // namespace bitdial::server
