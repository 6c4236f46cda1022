// Tensors that no part of a model reads: a sign that config.json and the weights are of two models.
#pragma once

#include <string>
#include <vector>

#include "quant/container/checkpoint.h"

namespace bitdial::quant {

// The linears of a Llama layer, after "model.layers.N.": "self_attn.q_proj", ..., "mlp.down_proj".
const std::vector<std::string>& LinearModules();

// The tensors that a LlamaForCausalLM of the checkpoint's config does not read, sorted by name.
// What is known to mean nothing is left out: rotary_emb.inv_freq (older exporters; it follows from
// the config), q_bias (AnyBCQ releases), a lm_head beside tied embeddings. Empty for any other
// architecture: the engine refuses it by name.
// Errors  DATA_LOSS config.json: a value that decides it is missing or wrong.
absl::StatusOr<std::vector<std::string>> FindLeftovers(const Checkpoint& checkpoint);

// DATA_LOSS naming the first leftover and how many there are.
absl::Status RefuseLeftovers(const Checkpoint& checkpoint);

}  // namespace bitdial::quant
