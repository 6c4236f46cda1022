// What config.json says in the same words for every family.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "quant/container/json_reader.h"

namespace bitdial::engine {

// Limits on what a file may claim, so that products of two of them fit 64 bits with room to spare.
constexpr int64_t kMaxLayers = 1 << 10;
constexpr int64_t kMaxFeatures = 1 << 20;
constexpr int64_t kMaxVocab = 1 << 22;
constexpr int64_t kMaxHeads = 1 << 12;
constexpr int64_t kMaxPositions = 1 << 26;

// "eos_token_id" of generation_config where it has one, else of config: ids below vocab_size.
// Errors  INVALID_ARGUMENT.
absl::StatusOr<std::vector<int32_t>> ReadEosIds(JsonObject& config, const Json& generation_config,
                                                int64_t vocab_size);

// Errors  UNIMPLEMENTED naming the method of a "quantization_config".
absl::Status RefuseForeignQuantization(JsonObject& config);

// A config that does not hold is the file's fault, not the caller's: INVALID_ARGUMENT becomes
// DATA_LOSS.
template <typename Config>
absl::StatusOr<Config> AsFileError(absl::StatusOr<Config> config) {
  if (!absl::IsInvalidArgument(config.status())) return config;
  return absl::DataLossError(config.status().message());
}

}  // namespace bitdial::engine
