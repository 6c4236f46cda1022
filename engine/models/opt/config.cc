#include "engine/models/opt/config.h"

#include "engine/models/config_keys.h"

namespace bitdial::engine {
namespace {

absl::StatusOr<OptActivation> ParseActivation(JsonObject& reader) {
  BITDIAL_ASSIGN_OR_RETURN(const std::string name,
                           reader.GetStringOr("activation_function", "relu"));
  if (name == "relu") return OptActivation::kRelu;
  if (name == "gelu") return OptActivation::kGelu;
  return Unimplemented("{}: activation_function \"{}\" is not supported; relu and gelu are",
                       reader.what(), name);
}

absl::Status ParseSizes(JsonObject& reader, OptConfig& config) {
  BITDIAL_ASSIGN_OR_RETURN(config.vocab_size, reader.GetInt("vocab_size", 1, kMaxVocab));
  BITDIAL_ASSIGN_OR_RETURN(config.hidden_size, reader.GetInt("hidden_size", 1, kMaxFeatures));
  BITDIAL_ASSIGN_OR_RETURN(config.embed_size, reader.GetIntOr("word_embed_proj_dim",
                                                              config.hidden_size, 1, kMaxFeatures));
  BITDIAL_ASSIGN_OR_RETURN(config.ffn_size, reader.GetInt("ffn_dim", 1, kMaxFeatures));
  BITDIAL_ASSIGN_OR_RETURN(config.num_layers, reader.GetInt("num_hidden_layers", 1, kMaxLayers));
  BITDIAL_ASSIGN_OR_RETURN(config.num_heads, reader.GetInt("num_attention_heads", 1, kMaxHeads));
  if (config.hidden_size % config.num_heads != 0) {
    return InvalidArgument("{}: hidden_size {} is no multiple of num_attention_heads {}",
                           reader.what(), config.hidden_size, config.num_heads);
  }
  config.head_dim = config.hidden_size / config.num_heads;
  BITDIAL_ASSIGN_OR_RETURN(config.max_positions,
                           reader.GetIntOr("max_position_embeddings", 2048, 1, kMaxPositions));
  return absl::OkStatus();
}

absl::Status ParseTraits(JsonObject& reader, OptConfig& config) {
  BITDIAL_ASSIGN_OR_RETURN(config.activation, ParseActivation(reader));
  BITDIAL_ASSIGN_OR_RETURN(config.norm_before, reader.GetBoolOr("do_layer_norm_before", true));
  BITDIAL_ASSIGN_OR_RETURN(const bool is_removed,
                           reader.GetBoolOr("_remove_final_layer_norm", false));
  config.has_final_norm = config.norm_before && !is_removed;
  BITDIAL_ASSIGN_OR_RETURN(config.has_bias, reader.GetBoolOr("enable_bias", true));
  BITDIAL_ASSIGN_OR_RETURN(config.norms_are_affine,
                           reader.GetBoolOr("layer_norm_elementwise_affine", true));
  BITDIAL_ASSIGN_OR_RETURN(config.tie_word_embeddings,
                           reader.GetBoolOr("tie_word_embeddings", true));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<OptConfig> ParseOptConfig(const Json& json, const Json& generation_config,
                                         const std::string& what) {
  BITDIAL_ASSIGN_OR_RETURN(JsonObject reader, JsonObject::Make(json, what));
  BITDIAL_RETURN_IF_ERROR(RefuseForeignQuantization(reader));
  OptConfig config;
  BITDIAL_RETURN_IF_ERROR(ParseSizes(reader, config));
  BITDIAL_RETURN_IF_ERROR(ParseTraits(reader, config));
  BITDIAL_ASSIGN_OR_RETURN(config.eos_ids,
                           ReadEosIds(reader, generation_config, config.vocab_size));
  return config;
}

}  // namespace bitdial::engine
