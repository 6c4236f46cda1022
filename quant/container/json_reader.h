// The one way a JSON file becomes values: config.json, tokenizer.json, server config, safetensors headers.
//
// nlohmann/json takes 1.9 for an int, -1 for 4294967295 and the last of two equal keys without a word. This reader
// does not: types and ranges are checked, duplicate keys and unknown keys are errors, depth and size are bounded.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"

namespace bitdial {

using Json = nlohmann::json;

struct JsonLimits {
  size_t max_bytes = 64u << 20;  // a Llama 3 tokenizer.json is 9 MB
  int max_depth = 64;
};

// Parses text. `what` names the source in messages ("model/config.json").
// Errors  DATA_LOSS: syntax (with the byte offset), a duplicate key, too deep, too large, not UTF-8.
absl::StatusOr<Json> ParseJson(std::string_view text, const std::string& what, const JsonLimits& limits = {});
// Errors  NOT_FOUND, or as above.
absl::StatusOr<Json> ReadJsonFile(const std::string& path, const JsonLimits& limits = {});

// Reads typed members of one object and remembers which were asked for.
//   JsonObject reader(json, "config.json");
//   BITDIAL_ASSIGN_OR_RETURN(int64_t layers, reader.GetInt("num_hidden_layers", 1, 1 << 16));
//   BITDIAL_ASSIGN_OR_RETURN(double eps, reader.GetNumberOr("rms_norm_eps", 1e-6, 0, 1));
//   BITDIAL_RETURN_IF_ERROR(reader.RefuseUnknownKeys());
// Errors of every Get: INVALID_ARGUMENT naming file, key, what was found and the range or type expected.
// A JSON null counts as absent for the ...Or forms.
class JsonObject {
 public:
  // `json` must be an object and outlive the reader; check with Make when it comes from outside.
  static absl::StatusOr<JsonObject> Make(const Json& json, std::string what);

  bool Has(const std::string& key) const;  // present and not null
  absl::StatusOr<int64_t> GetInt(const std::string& key, int64_t min, int64_t max);
  absl::StatusOr<int64_t> GetIntOr(const std::string& key, int64_t fallback, int64_t min, int64_t max);
  absl::StatusOr<double> GetNumber(const std::string& key, double min, double max);
  absl::StatusOr<double> GetNumberOr(const std::string& key, double fallback, double min, double max);
  absl::StatusOr<bool> GetBoolOr(const std::string& key, bool fallback);
  absl::StatusOr<std::string> GetString(const std::string& key);
  absl::StatusOr<std::string> GetStringOr(const std::string& key, const std::string& fallback);
  // An array of integers, or one integer as a list of one (eos_token_id comes in both forms). Absent: empty.
  absl::StatusOr<std::vector<int64_t>> GetIntListOr(const std::string& key, int64_t min, int64_t max);
  absl::StatusOr<std::vector<std::string>> GetStringListOr(const std::string& key);
  // The member object; nullopt when absent.
  absl::StatusOr<std::optional<JsonObject>> GetObject(const std::string& key);
  // The raw member, nullptr when absent.
  const Json* Find(const std::string& key);

  // INVALID_ARGUMENT naming the first key that no Get asked for, with the known keys nearest to it.
  absl::Status RefuseUnknownKeys() const;

  const std::string& what() const { return what_; }

 private:
  JsonObject(const Json* json, std::string what) : json_(json), what_(std::move(what)) {}
  const Json* json_;
  std::string what_;
  std::set<std::string> asked_;
};

}  // namespace bitdial
