#include "engine/models/llama/weights.h"

namespace bitdial::engine {
namespace {

absl::StatusOr<LlamaLayer> LoadLayer(WeightLoader& loader, const LlamaConfig& config,
                                     int64_t index) {
  const std::string prefix = fmt::format("model.layers.{}.", index);
  const int64_t hidden = config.hidden_size, intermediate = config.intermediate_size;
  const int64_t q_size = config.num_heads * config.head_dim;
  const int64_t kv_size = config.num_kv_heads * config.head_dim;
  const auto linear = [&](const char* name, int64_t out, int64_t in, bool has_bias) {
    return Linear::Load(loader, prefix + name, out, in, has_bias);
  };
  LlamaLayer layer;
  BITDIAL_ASSIGN_OR_RETURN(layer.attention_norm,
                           loader.ReadNormWeight(prefix + "input_layernorm.weight", hidden));
  const FusedLinear::Part qkv[] = {
      {"self_attn.q_proj", q_size}, {"self_attn.k_proj", kv_size}, {"self_attn.v_proj", kv_size}};
  BITDIAL_ASSIGN_OR_RETURN(
      layer.qkv, FusedLinear::Load(loader, prefix, qkv, hidden, config.attention_bias));
  BITDIAL_ASSIGN_OR_RETURN(layer.o,
                           linear("self_attn.o_proj", hidden, q_size, config.attention_bias));
  BITDIAL_ASSIGN_OR_RETURN(
      layer.mlp_norm, loader.ReadNormWeight(prefix + "post_attention_layernorm.weight", hidden));
  const FusedLinear::Part gate_up[] = {{"mlp.gate_proj", intermediate},
                                       {"mlp.up_proj", intermediate}};
  BITDIAL_ASSIGN_OR_RETURN(layer.gate_up,
                           FusedLinear::Load(loader, prefix, gate_up, hidden, config.mlp_bias));
  BITDIAL_ASSIGN_OR_RETURN(layer.down,
                           linear("mlp.down_proj", hidden, intermediate, config.mlp_bias));
  return layer;
}

}  // namespace

absl::StatusOr<LlamaWeights> LoadLlamaWeights(WeightLoader& loader, const LlamaConfig& config) {
  LlamaWeights weights;
  BITDIAL_ASSIGN_OR_RETURN(
      weights.embedding,
      Embedding::Load(loader, "model.embed_tokens", config.vocab_size, config.hidden_size));
  for (int64_t i = 0; i < config.num_layers; ++i) {
    BITDIAL_ASSIGN_OR_RETURN(LlamaLayer layer, LoadLayer(loader, config, i));
    weights.layers.push_back(std::move(layer));
  }
  BITDIAL_ASSIGN_OR_RETURN(weights.final_norm,
                           loader.ReadNormWeight("model.norm.weight", config.hidden_size));
  // As transformers does: tied wins over an lm_head that the file may hold besides.
  BITDIAL_ASSIGN_OR_RETURN(
      weights.head, Linear::LoadHead(loader, weights.embedding.weight(), config.tie_word_embeddings,
                                     config.vocab_size, config.hidden_size));
  return weights;
}

}  // namespace bitdial::engine
