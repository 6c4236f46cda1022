// config.json of a LlamaForCausalLM, checked.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/core/status.h"
#include "quant/container/json_reader.h"

namespace bitdial::engine {

enum class RopeScaling { kNone, kLinear, kLlama3 };

struct RopeConfig {
  double theta = 10000.0;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;  // linear and llama3, >= 1
  // llama3 alone: wavelengths below original_max_positions / high_freq_factor are kept, above
  // original_max_positions / low_freq_factor divided by factor, blended between.
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  double original_max_positions = 8192;
};

struct LlamaConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  // divides num_heads
  int64_t head_dim = 0;      // even
  int64_t max_positions = 0;
  float rms_norm_eps = 1e-6f;
  RopeConfig rope;
  bool tie_word_embeddings = false;
  bool attention_bias = false;  // q, k, v, o
  bool mlp_bias = false;        // gate, up, down
  std::vector<int32_t> eos_ids;
};

// `config` and `generation_config` as Checkpoint gives them; the eos ids of the latter win.
// Errors  INVALID_ARGUMENT a missing, wrong-typed, out-of-range or contradictory value (names the
// key);
//         UNIMPLEMENTED an activation, rope scaling or quantization that is known to exist but not
//         built (names it).
absl::StatusOr<LlamaConfig> ParseLlamaConfig(const Json& config, const Json& generation_config,
                                             const std::string& what);

// Angle per position of each channel pair, in double. [head_dim / 2]
std::vector<double> RopeInverseFrequencies(const RopeConfig& rope, int64_t head_dim);

}  // namespace bitdial::engine
