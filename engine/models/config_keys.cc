#include "engine/models/config_keys.h"

namespace bitdial::engine {

absl::StatusOr<std::vector<int32_t>> ReadEosIds(JsonObject& config, const Json& generation_config,
                                                int64_t vocab_size) {
  BITDIAL_ASSIGN_OR_RETURN(
      JsonObject generation,
      JsonObject::Make(generation_config, config.what() + " (generation_config)"));
  JsonObject& source = generation.Has("eos_token_id") ? generation : config;
  BITDIAL_ASSIGN_OR_RETURN(const std::vector<int64_t> ids,
                           source.GetIntListOr("eos_token_id", 0, vocab_size - 1));
  return std::vector<int32_t>(ids.begin(), ids.end());
}

absl::Status RefuseForeignQuantization(JsonObject& config) {
  BITDIAL_ASSIGN_OR_RETURN(auto foreign, config.GetObject("quantization_config"));
  if (!foreign.has_value()) return absl::OkStatus();
  BITDIAL_ASSIGN_OR_RETURN(const std::string method, foreign->GetStringOr("quant_method", "?"));
  return Unimplemented(
      "{}: quantization_config.quant_method \"{}\" is not supported; give the unquantized "
      "checkpoint to `bitdial quantize`",
      config.what(), method);
}

}  // namespace bitdial::engine
