// config.json of an OPTForCausalLM, checked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "quant/container/json_reader.h"

namespace bitdial::engine {

enum class OptActivation { kRelu, kGelu };

struct OptConfig {
  int64_t vocab_size = 0;  // rows of the embedding: padded beyond the tokenizer's tokens
  int64_t hidden_size = 0;
  int64_t embed_size = 0;  // channels of embedding and head ("word_embed_proj_dim")
  int64_t ffn_size = 0;    // "ffn_dim"
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t head_dim = 0;  // hidden_size / num_heads
  int64_t max_positions = 0;
  OptActivation activation = OptActivation::kRelu;
  bool norm_before = true;       // each half of a layer: norm, work, add; else work, add, norm
  bool has_final_norm = true;    // before the head
  bool has_bias = true;          // of a layer's linears
  bool norms_are_affine = true;  // norms have a weight and a bias in the file
  bool tie_word_embeddings = true;
  std::vector<int32_t> eos_ids;

  bool has_projections() const { return embed_size != hidden_size; }
};

// `config` and `generation_config` as Checkpoint gives them; the eos ids of the latter win.
// Errors  INVALID_ARGUMENT a missing, wrong-typed, out-of-range or contradictory value (names the
//         key); UNIMPLEMENTED an activation or quantization that is known to exist but not built
//         (names it).
absl::StatusOr<OptConfig> ParseOptConfig(const Json& config, const Json& generation_config,
                                         const std::string& what);

}  // namespace bitdial::engine
