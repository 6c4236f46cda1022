#include "server/security/key_file.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>

#include "quant/container/json_reader.h"

namespace bitdial::server {
namespace {

constexpr size_t kMaxKeys = 4096;
constexpr size_t kMaxLineBytes = 4096;
constexpr size_t kMaxNameBytes = 64;
constexpr int64_t kMaxLimit = 1'000'000;

absl::Status ReadHex(JsonObject& reader, const std::string& key, uint8_t* bytes, size_t size) {
  BITDIAL_ASSIGN_OR_RETURN(const std::string hex, reader.GetString(key));
  if (FromHex(hex, bytes, size)) return absl::OkStatus();
  return InvalidArgument("{}: \"{}\" is no {} digits 0-9, a-f; make lines with `bitdial keys new`",
                         reader.what(), key, 2 * size);
}

absl::StatusOr<KeyRecord> ParseLine(std::string_view line, const std::string& what) {
  const auto json = ParseJson(line, what, {.max_bytes = kMaxLineBytes, .max_depth = 3});
  // The parser's own message quotes the text, and somebody may have put a key there.
  if (!json.ok()) {
    return DataLoss("{}: is not one JSON object as `bitdial keys new` prints it", what);
  }
  BITDIAL_ASSIGN_OR_RETURN(JsonObject reader, JsonObject::Make(*json, what));
  KeyRecord record;
  Principal& principal = record.principal;
  BITDIAL_ASSIGN_OR_RETURN(principal.name, reader.GetString("name"));
  BITDIAL_RETURN_IF_ERROR(CheckKeyName(principal.name, what + ": \"name\""));
  std::array<uint8_t, 8> id;
  BITDIAL_RETURN_IF_ERROR(ReadHex(reader, "id", id.data(), id.size()));
  record.id = ToHex(id.data(), id.size());
  BITDIAL_RETURN_IF_ERROR(ReadHex(reader, "salt", record.salt.data(), record.salt.size()));
  BITDIAL_RETURN_IF_ERROR(ReadHex(reader, "sha256", record.hash.data(), record.hash.size()));
  BITDIAL_ASSIGN_OR_RETURN(const std::vector<std::string> scopes, reader.GetStringListOr("scopes"));
  BITDIAL_ASSIGN_OR_RETURN(principal.scopes, ParseScopes(scopes, what + ": \"scopes\""));
  BITDIAL_ASSIGN_OR_RETURN(principal.max_concurrent_requests,
                           reader.GetIntOr("max_concurrent_requests", 0, 0, kMaxLimit));
  BITDIAL_ASSIGN_OR_RETURN(principal.max_requests_per_minute,
                           reader.GetIntOr("max_requests_per_minute", 0, 0, kMaxLimit));
  BITDIAL_RETURN_IF_ERROR(reader.RefuseUnknownKeys());
  return record;
}

bool IsBlank(std::string_view line) {
  return std::all_of(line.begin(), line.end(),
                     [](char c) { return c == ' ' || c == '\t' || c == '\r'; });
}

}  // namespace

const char* Name(Scope scope) {
  switch (scope) {
    case Scope::kInference:
      return "inference";
    case Scope::kModels:
      return "models";
    case Scope::kAdmin:
      return "admin";
  }
  return "?";
}

absl::StatusOr<std::vector<Scope>> ParseScopes(const std::vector<std::string>& names,
                                               const std::string& what) {
  std::vector<Scope> scopes;
  for (const std::string& name : names) {
    const auto* const found = std::find_if(kScopes.begin(), kScopes.end(),
                                           [&](Scope scope) { return name == Name(scope); });
    if (found == kScopes.end()) {
      return InvalidArgument("{}: \"{}\" is none of inference, models, admin", what, name);
    }
    if (std::find(scopes.begin(), scopes.end(), *found) != scopes.end()) {
      return InvalidArgument("{}: \"{}\" is there twice", what, name);
    }
    scopes.push_back(*found);
  }
  if (scopes.empty()) {
    return InvalidArgument(
        "{}: is empty, the key would open nothing; give some of inference, models, admin", what);
  }
  return scopes;
}

bool Principal::Has(Scope scope) const {
  return std::find(scopes.begin(), scopes.end(), scope) != scopes.end();
}

absl::Status CheckKeyName(const std::string& name, const std::string& what) {
  const bool is_good = !name.empty() && name.size() <= kMaxNameBytes &&
                       std::all_of(name.begin(), name.end(), [](unsigned char c) {
                         return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
                       });
  if (is_good) return absl::OkStatus();
  return InvalidArgument("{}: a key's name is 1 to {} of A-Z a-z 0-9 . _ -", what, kMaxNameBytes);
}

absl::StatusOr<KeyTable> ParseKeyFile(std::string_view text, const std::string& what) {
  KeyTable table;
  std::set<std::string> names;
  for (size_t begin = 0, number = 1; begin < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (IsBlank(line)) continue;
    const std::string where = fmt::format("{}: line {}", what, number);
    BITDIAL_ASSIGN_OR_RETURN(KeyRecord record, ParseLine(line, where));
    if (table.size() == kMaxKeys) {
      return InvalidArgument("{}: more than {} keys", where, kMaxKeys);
    }
    // Who has two keys under one name could not be told apart in limits and logs.
    if (!names.insert(record.principal.name).second) {
      return InvalidArgument("{}: the name \"{}\" is there twice", where, record.principal.name);
    }
    const std::string id = record.id;
    if (!table.emplace(id, std::move(record)).second) {
      return InvalidArgument("{}: the id \"{}\" is there twice", where, id);
    }
  }
  if (table.empty()) {
    return InvalidArgument(
        "{}: holds no key, so nobody could ask; make one with `bitdial keys new`", what);
  }
  return table;
}

std::string ToLine(const KeyRecord& record) {
  const Principal& principal = record.principal;
  nlohmann::ordered_json json = {{"name", principal.name},
                                 {"id", record.id},
                                 {"salt", ToHex(record.salt.data(), record.salt.size())},
                                 {"sha256", ToHex(record.hash.data(), record.hash.size())},
                                 {"scopes", nlohmann::ordered_json::array()}};
  for (const Scope scope : principal.scopes) json["scopes"].push_back(Name(scope));
  if (principal.max_concurrent_requests > 0)
    json["max_concurrent_requests"] = principal.max_concurrent_requests;
  if (principal.max_requests_per_minute > 0)
    json["max_requests_per_minute"] = principal.max_requests_per_minute;
  return json.dump();
}

}  // namespace bitdial::server
