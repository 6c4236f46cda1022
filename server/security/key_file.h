// The file of API keys: one JSON object a line, as `bitdial keys new` prints it. It holds no key,
// only hashes of them.
//
//   {"name":"alice","id":"8f...","salt":"..","sha256":"..","scopes":["inference","models"],
//    "max_concurrent_requests":4,"max_requests_per_minute":60}
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"
#include "server/security/api_key.h"

namespace bitdial::server {

// What a key opens.
enum class Scope {
  kInference,  // Generate, Chat, Cancel of one's own, Tokenize, Detokenize
  kModels,     // ListModels, GetModel
  kAdmin,      // AdminService, and Cancel of anybody's
};
inline constexpr std::array<Scope, 3> kScopes = {Scope::kInference, Scope::kModels, Scope::kAdmin};
const char* Name(Scope scope);  // "inference", "models", "admin"
// Errors  INVALID_ARGUMENT naming `what`.
absl::StatusOr<std::vector<Scope>> ParseScopes(const std::vector<std::string>& names,
                                               const std::string& what);

// Who asks, and what he may. Anonymous (no keys are configured): an empty name and every scope.
struct Principal {
  std::string name;
  std::vector<Scope> scopes;
  int64_t max_concurrent_requests = 0;  // Generate and Chat at a time; 0: no limit of its own
  int64_t max_requests_per_minute = 0;  // calls of scope inference but Cancel; 0: no limit

  bool Has(Scope scope) const;
};

struct KeyRecord {
  Principal principal;
  std::string id;
  KeySalt salt = {};
  KeyHash hash = {};
};

using KeyTable = std::map<std::string, KeyRecord>;  // by id

// `what` names the source. Blank lines are skipped. Errors  INVALID_ARGUMENT or DATA_LOSS naming
// the line: no JSON object, an unknown or missing member, a value out of range, a name or id that
// is there twice; no key at all; more than 4096.
absl::StatusOr<KeyTable> ParseKeyFile(std::string_view text, const std::string& what);

// A name for logs and messages: 1 to 64 of A-Z a-z 0-9 . _ -. Errors  INVALID_ARGUMENT naming
// `what`.
absl::Status CheckKeyName(const std::string& name, const std::string& what);

std::string ToLine(const KeyRecord& record);  // without the end of line; ParseKeyFile takes it back

}  // namespace bitdial::server
