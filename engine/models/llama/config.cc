#include "engine/models/llama/config.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/models/config_keys.h"

namespace bitdial::engine {
namespace {

absl::Status ParseScaling(JsonObject& scaling, RopeConfig& rope) {
  // transformers 4 wrote "type", later "rope_type"; both may stand there.
  BITDIAL_ASSIGN_OR_RETURN(const std::string old_type, scaling.GetStringOr("type", "default"));
  BITDIAL_ASSIGN_OR_RETURN(const std::string type, scaling.GetStringOr("rope_type", old_type));
  if (type == "default") return absl::OkStatus();
  if (type != "linear" && type != "llama3") {
    return Unimplemented("{}: rope scaling \"{}\" is not supported; linear and llama3 are",
                         scaling.what(), type);
  }
  BITDIAL_ASSIGN_OR_RETURN(rope.factor, scaling.GetNumber("factor", 1.0, 1e6));
  rope.scaling = RopeScaling::kLinear;
  if (type == "linear") return absl::OkStatus();

  rope.scaling = RopeScaling::kLlama3;
  BITDIAL_ASSIGN_OR_RETURN(rope.low_freq_factor, scaling.GetNumber("low_freq_factor", 1e-6, 1e6));
  BITDIAL_ASSIGN_OR_RETURN(rope.high_freq_factor, scaling.GetNumber("high_freq_factor", 1e-6, 1e6));
  BITDIAL_ASSIGN_OR_RETURN(
      rope.original_max_positions,
      scaling.GetNumber("original_max_position_embeddings", 1, static_cast<double>(kMaxPositions)));
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    return InvalidArgument("{}: high_freq_factor {} must be above low_freq_factor {}",
                           scaling.what(), rope.high_freq_factor, rope.low_freq_factor);
  }
  return absl::OkStatus();
}

absl::StatusOr<RopeConfig> ParseRope(JsonObject& reader) {
  RopeConfig rope;
  BITDIAL_ASSIGN_OR_RETURN(rope.theta, reader.GetNumberOr("rope_theta", rope.theta, 1.0, 1e12));
  BITDIAL_ASSIGN_OR_RETURN(auto scaling, reader.GetObject("rope_scaling"));
  BITDIAL_ASSIGN_OR_RETURN(auto parameters, reader.GetObject("rope_parameters"));
  if (parameters.has_value()) {  // transformers 5 puts everything here
    BITDIAL_ASSIGN_OR_RETURN(rope.theta,
                             parameters->GetNumberOr("rope_theta", rope.theta, 1.0, 1e12));
    scaling = std::move(parameters);
  }
  if (scaling.has_value()) BITDIAL_RETURN_IF_ERROR(ParseScaling(*scaling, rope));
  return rope;
}

// What a Llama config may say that would change the arithmetic and is not built.
absl::Status RefuseUnsupported(JsonObject& reader) {
  BITDIAL_ASSIGN_OR_RETURN(const std::string activation, reader.GetStringOr("hidden_act", "silu"));
  if (activation != "silu" && activation != "swish") {
    return Unimplemented("{}: hidden_act \"{}\" is not supported; silu is", reader.what(),
                         activation);
  }
  BITDIAL_RETURN_IF_ERROR(RefuseForeignQuantization(reader));
  BITDIAL_ASSIGN_OR_RETURN(const double rotary,
                           reader.GetNumberOr("partial_rotary_factor", 1, 0, 1));
  if (rotary != 1.0) {
    return Unimplemented("{}: partial_rotary_factor {} is not supported; 1 is", reader.what(),
                         rotary);
  }
  return absl::OkStatus();
}

absl::Status CheckHeads(const LlamaConfig& config, const std::string& what) {
  if (config.num_heads % config.num_kv_heads != 0) {
    return InvalidArgument("{}: num_attention_heads {} is no multiple of num_key_value_heads {}",
                           what, config.num_heads, config.num_kv_heads);
  }
  if (config.head_dim % 2 != 0) {
    return InvalidArgument("{}: head_dim {} must be even for rotary embedding", what,
                           config.head_dim);
  }
  if (config.num_heads * config.head_dim > kMaxFeatures) {
    return InvalidArgument("{}: num_attention_heads {} * head_dim {} is over {}", what,
                           config.num_heads, config.head_dim, kMaxFeatures);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LlamaConfig> ParseLlamaConfig(const Json& json, const Json& generation_config,
                                             const std::string& what) {
  BITDIAL_ASSIGN_OR_RETURN(JsonObject reader, JsonObject::Make(json, what));
  BITDIAL_RETURN_IF_ERROR(RefuseUnsupported(reader));
  LlamaConfig config;
  BITDIAL_ASSIGN_OR_RETURN(config.vocab_size, reader.GetInt("vocab_size", 1, kMaxVocab));
  BITDIAL_ASSIGN_OR_RETURN(config.hidden_size, reader.GetInt("hidden_size", 1, kMaxFeatures));
  BITDIAL_ASSIGN_OR_RETURN(config.intermediate_size,
                           reader.GetInt("intermediate_size", 1, kMaxFeatures));
  BITDIAL_ASSIGN_OR_RETURN(config.num_layers, reader.GetInt("num_hidden_layers", 1, kMaxLayers));
  BITDIAL_ASSIGN_OR_RETURN(config.num_heads, reader.GetInt("num_attention_heads", 1, kMaxHeads));
  BITDIAL_ASSIGN_OR_RETURN(
      config.num_kv_heads,
      reader.GetIntOr("num_key_value_heads", config.num_heads, 1, config.num_heads));
  if (!reader.Has("head_dim") && config.hidden_size % config.num_heads != 0) {
    return InvalidArgument("{}: hidden_size {} is no multiple of num_attention_heads {}", what,
                           config.hidden_size, config.num_heads);
  }
  BITDIAL_ASSIGN_OR_RETURN(
      config.head_dim,
      reader.GetIntOr("head_dim", config.hidden_size / config.num_heads, 1, kMaxFeatures));
  BITDIAL_RETURN_IF_ERROR(CheckHeads(config, what));
  BITDIAL_ASSIGN_OR_RETURN(config.max_positions,
                           reader.GetIntOr("max_position_embeddings", 2048, 1, kMaxPositions));
  BITDIAL_ASSIGN_OR_RETURN(const double eps, reader.GetNumberOr("rms_norm_eps", 1e-6, 0, 1));
  config.rms_norm_eps = static_cast<float>(eps);
  BITDIAL_ASSIGN_OR_RETURN(config.rope, ParseRope(reader));
  BITDIAL_ASSIGN_OR_RETURN(config.tie_word_embeddings,
                           reader.GetBoolOr("tie_word_embeddings", false));
  BITDIAL_ASSIGN_OR_RETURN(config.attention_bias, reader.GetBoolOr("attention_bias", false));
  BITDIAL_ASSIGN_OR_RETURN(config.mlp_bias, reader.GetBoolOr("mlp_bias", false));
  BITDIAL_ASSIGN_OR_RETURN(config.eos_ids,
                           ReadEosIds(reader, generation_config, config.vocab_size));
  return config;
}

std::vector<double> RopeInverseFrequencies(const RopeConfig& rope, int64_t head_dim) {
  std::vector<double> frequencies(static_cast<size_t>(head_dim / 2));
  for (size_t c = 0; c < frequencies.size(); ++c) {
    double frequency =
        std::pow(rope.theta, -2.0 * static_cast<double>(c) / static_cast<double>(head_dim));
    if (rope.scaling == RopeScaling::kLinear) frequency /= rope.factor;
    if (rope.scaling == RopeScaling::kLlama3) {
      // Turns within the original context; between the two factors a linear blend.
      const double turns = rope.original_max_positions * frequency / (2 * std::numbers::pi);
      const double span = rope.high_freq_factor - rope.low_freq_factor;
      const double kept = std::clamp((turns - rope.low_freq_factor) / span, 0.0, 1.0);
      frequency = kept * frequency + (1 - kept) * frequency / rope.factor;
    }
    frequencies[c] = frequency;
  }
  return frequencies;
}

}  // namespace bitdial::engine
