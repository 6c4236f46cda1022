#include "server/model/sampling_defaults.h"

namespace bitdial::server {
namespace {

constexpr double kTiny = 1e-6;  // top_p and repetition_penalty are above 0

absl::StatusOr<SamplingDefaults> Read(JsonObject& file) {
  SamplingDefaults defaults;
  const auto read = [&](const char* key, float& slot, double min, double max) -> absl::Status {
    BITDIAL_ASSIGN_OR_RETURN(const double value, file.GetNumberOr(key, slot, min, max));
    slot = static_cast<float>(value);
    return absl::OkStatus();
  };
  BITDIAL_RETURN_IF_ERROR(read("temperature", defaults.temperature, 0, 100));
  BITDIAL_RETURN_IF_ERROR(read("top_p", defaults.top_p, kTiny, 1));
  BITDIAL_RETURN_IF_ERROR(read("min_p", defaults.min_p, 0, 1));
  BITDIAL_RETURN_IF_ERROR(read("repetition_penalty", defaults.repetition_penalty, kTiny, 100));
  BITDIAL_ASSIGN_OR_RETURN(const int64_t top_k, file.GetIntOr("top_k", 0, 0, INT32_MAX));
  defaults.top_k = static_cast<int32_t>(top_k);
  BITDIAL_ASSIGN_OR_RETURN(const bool do_sample, file.GetBoolOr("do_sample", true));
  if (!do_sample) defaults.temperature = 0;
  return defaults;
}

}  // namespace

absl::StatusOr<SamplingDefaults> ParseSamplingDefaults(const Json& generation_config,
                                                       const std::string& what) {
  BITDIAL_ASSIGN_OR_RETURN(JsonObject file, JsonObject::Make(generation_config, what));
  absl::StatusOr<SamplingDefaults> defaults = Read(file);
  if (absl::IsInvalidArgument(defaults.status())) {  // a value of the file, not one of the caller
    return DataLoss("{}; correct the value or remove the key",
                    std::string(defaults.status().message()));
  }
  return defaults;
}

absl::StatusOr<SamplingDefaults> ReadSamplingDefaults(const quant::Checkpoint& checkpoint) {
  const bool is_gguf = checkpoint.form() == quant::CheckpointForm::kGguf;
  return ParseSamplingDefaults(checkpoint.generation_config(),
                               checkpoint.path() + (is_gguf ? "" : "/generation_config.json"));
}

}  // namespace bitdial::server
