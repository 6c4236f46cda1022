// Tensors that no part of a model reads: a sign that config.json and the weights are of two models.
#pragma once

#include <string>
#include <vector>

#include "quant/container/checkpoint.h"

namespace bitdial::quant {

// The tensors that a LlamaForCausalLM or OPTForCausalLM of the checkpoint's config does not read,
// sorted by name.
// What is known to mean nothing is left out: rotary_emb.inv_freq (older exporters; it follows from
// the config), q_bias (AnyBCQ releases), a lm_head beside tied embeddings, a final norm
// that _remove_final_layer_norm takes away. Empty for any other
// architecture: the engine refuses it by name.
// Errors  DATA_LOSS config.json: a value that decides it is missing or wrong.
absl::StatusOr<std::vector<std::string>> FindLeftovers(const Checkpoint& checkpoint);

// DATA_LOSS naming the first leftover and how many there are.
absl::Status RefuseLeftovers(const Checkpoint& checkpoint);

}  // namespace bitdial::quant
