// The tensors of a LlamaForCausalLM under their Hugging Face names.
#pragma once

#include <vector>

#include "engine/layers/linear.h"
#include "engine/models/llama/config.h"

namespace bitdial::engine {

struct LlamaLayer {
  std::vector<float> attention_norm;  // [hidden_size]
  FusedLinear qkv;               // [(num_heads + 2 * num_kv_heads) * head_dim, hidden_size]
  Linear o;                      // [hidden_size, num_heads * head_dim]
  std::vector<float> mlp_norm;   // [hidden_size]
  FusedLinear gate_up;           // [2 * intermediate_size, hidden_size]
  Linear down;                   // [hidden_size, intermediate_size]

  std::vector<const Linear*> linears() const { return AllLinears({&qkv, &gate_up}, {&o, &down}); }
};

struct LlamaWeights {
  Embedding embedding;  // [vocab_size, hidden_size]
  std::vector<LlamaLayer> layers;
  std::vector<float> final_norm;  // [hidden_size]
  Linear head;                    // [vocab_size, hidden_size]; the embedding's weight when tied
};

absl::StatusOr<LlamaWeights> LoadLlamaWeights(WeightLoader& loader, const LlamaConfig& config);

}  // namespace bitdial::engine
