#include "engine/models/opt/weights.h"

namespace bitdial::engine {
namespace {

// The table has two rows before that of the first position: fairseq counted positions from behind
// the padding id, and the published files kept its rows.
constexpr int64_t kPositionOffset = 2;

// The language model's names, or those of the base model saved alone.
std::string FindDecoder(const quant::Checkpoint& checkpoint) {
  const bool is_base = !checkpoint.Has("model.decoder.embed_positions.weight") &&
                       checkpoint.Has("decoder.embed_positions.weight");
  return is_base ? "decoder." : "model.decoder.";
}

absl::StatusOr<OptNorm> LoadNorm(WeightLoader& loader, const OptConfig& config,
                                 const std::string& prefix) {
  const auto size = static_cast<size_t>(config.hidden_size);
  OptNorm norm = {std::vector<float>(size, 1.0f), std::vector<float>(size, 0.0f)};
  if (!config.norms_are_affine) return norm;
  BITDIAL_ASSIGN_OR_RETURN(norm.weight,
                           loader.ReadNormWeight(prefix + ".weight", config.hidden_size));
  BITDIAL_ASSIGN_OR_RETURN(norm.bias, loader.ReadVector(prefix + ".bias", config.hidden_size));
  return norm;
}

absl::StatusOr<OptLayer> LoadLayer(WeightLoader& loader, const OptConfig& config,
                                   const std::string& prefix) {
  const int64_t hidden = config.hidden_size, ffn = config.ffn_size;
  const auto linear = [&](const char* name, int64_t out, int64_t in) {
    return Linear::Load(loader, prefix + name, out, in, config.has_bias);
  };
  OptLayer layer;
  BITDIAL_ASSIGN_OR_RETURN(layer.attention_norm,
                           LoadNorm(loader, config, prefix + "self_attn_layer_norm"));
  const FusedLinear::Part qkv[] = {
      {"self_attn.q_proj", hidden}, {"self_attn.k_proj", hidden}, {"self_attn.v_proj", hidden}};
  BITDIAL_ASSIGN_OR_RETURN(layer.qkv,
                           FusedLinear::Load(loader, prefix, qkv, hidden, config.has_bias));
  BITDIAL_ASSIGN_OR_RETURN(layer.out, linear("self_attn.out_proj", hidden, hidden));
  BITDIAL_ASSIGN_OR_RETURN(layer.mlp_norm, LoadNorm(loader, config, prefix + "final_layer_norm"));
  BITDIAL_ASSIGN_OR_RETURN(layer.fc1, linear("fc1", ffn, hidden));
  BITDIAL_ASSIGN_OR_RETURN(layer.fc2, linear("fc2", hidden, ffn));
  return layer;
}

absl::Status LoadProjections(WeightLoader& loader, const OptConfig& config,
                             const std::string& decoder, OptWeights& weights) {
  if (!config.has_projections()) return absl::OkStatus();
  BITDIAL_ASSIGN_OR_RETURN(weights.project_in,
                           Linear::Load(loader, decoder + "project_in", config.hidden_size,
                                        config.embed_size, /*has_bias=*/false));
  BITDIAL_ASSIGN_OR_RETURN(weights.project_out,
                           Linear::Load(loader, decoder + "project_out", config.embed_size,
                                        config.hidden_size, /*has_bias=*/false));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<OptWeights> LoadOptWeights(WeightLoader& loader, const OptConfig& config) {
  const std::string decoder = FindDecoder(loader.checkpoint());
  OptWeights weights;
  BITDIAL_ASSIGN_OR_RETURN(
      weights.embedding,
      Embedding::Load(loader, decoder + "embed_tokens", config.vocab_size, config.embed_size));
  BITDIAL_RETURN_IF_ERROR(LoadProjections(loader, config, decoder, weights));
  BITDIAL_ASSIGN_OR_RETURN(
      weights.positions,
      PositionEmbedding::Load(loader, decoder + "embed_positions", config.max_positions,
                              config.hidden_size, kPositionOffset));
  for (int64_t i = 0; i < config.num_layers; ++i) {
    BITDIAL_ASSIGN_OR_RETURN(OptLayer layer,
                             LoadLayer(loader, config, fmt::format("{}layers.{}.", decoder, i)));
    weights.layers.push_back(std::move(layer));
  }
  if (config.has_final_norm) {
    BITDIAL_ASSIGN_OR_RETURN(weights.final_norm,
                             LoadNorm(loader, config, decoder + "final_layer_norm"));
  }
  // Tied wins over an lm_head that the file may hold besides, as for Llama.
  BITDIAL_ASSIGN_OR_RETURN(
      weights.head, Linear::LoadHead(loader, weights.embedding.weight(), config.tie_word_embeddings,
                                     config.vocab_size, config.embed_size));
  return weights;
}

}  // namespace bitdial::engine
