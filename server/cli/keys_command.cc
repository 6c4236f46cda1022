// bitdial keys: makes API keys for the server's keys_file.
#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "server/cli/command.h"
#include "server/cli/json_text.h"
#include "server/security/key_file.h"

namespace bitdial::server {
namespace {

struct KeysOptions {
  std::string name;
  std::vector<std::string> scopes = {"inference", "models"};
  int64_t max_concurrent_requests = 0;
  int64_t max_requests_per_minute = 0;
  bool is_json = false;
};

absl::Status NewKey(const KeysOptions& options) {
  KeyRecord record;
  record.principal.name = options.name;
  BITDIAL_RETURN_IF_ERROR(CheckKeyName(options.name, "NAME"));
  BITDIAL_ASSIGN_OR_RETURN(record.principal.scopes, ParseScopes(options.scopes, "--scopes"));
  record.principal.max_concurrent_requests = options.max_concurrent_requests;
  record.principal.max_requests_per_minute = options.max_requests_per_minute;
  BITDIAL_ASSIGN_OR_RETURN(const std::string key, MakeApiKey());
  BITDIAL_ASSIGN_OR_RETURN(record.salt, MakeKeySalt());
  record.id = *IdOfApiKey(key);
  record.hash = HashApiKey(record.salt, key);
  if (options.is_json) {
    fmt::print("{}\n", JsonText({{"name", options.name}, {"key", key}, {"line", ToLine(record)}}));
    return absl::OkStatus();
  }
  fmt::print("{}\n", ToLine(record));
  std::fflush(stdout);
  fmt::print(stderr,
             "The key of \"{}\", shown once and kept nowhere; the line on stdout belongs into "
             "keys_file:\n{}\n",
             options.name, key);
  return absl::OkStatus();
}

}  // namespace

void AddKeysCommand(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<KeysOptions>();
  CLI::App* command =
      app.add_subcommand("keys",
                         "API keys of the server. Example:\n\n"
                         "  bitdial keys new alice --max-requests-per-minute 60 >> keys.jsonl\n"
                         "  bitdial serve MODEL --keys-file keys.jsonl");
  command->require_subcommand(1);
  CLI::App* make = command->add_subcommand(
      "new", "Make a key: it goes to stderr, the line for keys_file (a hash) to stdout");
  make->add_option("NAME", options->name, "Who it is for: A-Z a-z 0-9 . _ -, unique in the file")
      ->required();
  make->add_option("--scopes", options->scopes,
                   "What it opens: inference, models, admin (comma between)")
      ->delimiter(',')
      ->capture_default_str();
  make->add_option("--max-concurrent-requests", options->max_concurrent_requests,
                   "Generate and Chat calls at a time; 0: no limit of its own")
      ->check(CLI::Range(0, 1'000'000));
  make->add_option("--max-requests-per-minute", options->max_requests_per_minute,
                   "Calls of scope inference; 0: no limit")
      ->check(CLI::Range(0, 1'000'000));
  make->add_flag("--json", options->is_json, "One JSON object on stdout: name, key, line");
  make->callback([options, &exit_code] { exit_code = Report(NewKey(*options)); });
}

}  // namespace bitdial::server
