// The tensors of an OPTForCausalLM under their Hugging Face names.
#pragma once

#include <optional>
#include <vector>

#include "engine/layers/linear.h"
#include "engine/layers/position_embedding.h"
#include "engine/models/opt/config.h"

namespace bitdial::engine {

// Ones and zeros where the file has none.
struct OptNorm {
  std::vector<float> weight;  // [hidden_size]
  std::vector<float> bias;    // [hidden_size]
};

struct OptLayer {
  OptNorm attention_norm;
  FusedLinear qkv;  // [3 * hidden_size, hidden_size]
  Linear out;       // [hidden_size, hidden_size]
  OptNorm mlp_norm;
  Linear fc1;  // [ffn_size, hidden_size]
  Linear fc2;  // [hidden_size, ffn_size]

  std::vector<const Linear*> linears() const { return AllLinears({&qkv}, {&out, &fc1, &fc2}); }
};

struct OptWeights {
  Embedding embedding;               // [vocab_size, embed_size]
  std::optional<Linear> project_in;  // [hidden_size, embed_size], where the two sizes differ
  PositionEmbedding positions;       // [max_positions, hidden_size]
  std::vector<OptLayer> layers;
  std::optional<OptNorm> final_norm;
  std::optional<Linear> project_out;  // [embed_size, hidden_size], where the two sizes differ
  Linear head;                        // [vocab_size, embed_size]; the embedding's weight when tied
};

absl::StatusOr<OptWeights> LoadOptWeights(WeightLoader& loader, const OptConfig& config);

}  // namespace bitdial::engine
