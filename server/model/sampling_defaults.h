// What a model's generation_config.json says of sampling.
#pragma once

#include <cstdint>
#include <string>

#include "quant/container/checkpoint.h"

namespace bitdial::server {

// What a sampling field means when a request leaves it out. Ranges: engine/request.h.
struct SamplingDefaults {
  float temperature = 1.0f;
  int32_t top_k = 0;
  float top_p = 1.0f;
  float min_p = 0.0f;
  float repetition_penalty = 1.0f;
};

// The file's values, the defaults above for the others. do_sample false makes the temperature 0,
// whatever else stands there; true, or absent, keeps it.
// what: the file, for messages.
// Errors  DATA_LOSS a value of a wrong type or out of range (names the file and the key).
absl::StatusOr<SamplingDefaults> ParseSamplingDefaults(const Json& generation_config,
                                                       const std::string& what);
absl::StatusOr<SamplingDefaults> ReadSamplingDefaults(const quant::Checkpoint& checkpoint);

}  // namespace bitdial::server
