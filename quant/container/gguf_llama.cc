#include "quant/container/gguf_llama.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>
#include <vector>

namespace bitdial::quant {
namespace {

constexpr int64_t kMaxCount = std::numeric_limits<int32_t>::max();
constexpr int64_t kMaxLayers = 1 << 16;

using NamePair = std::pair<std::string_view, std::string_view>;  // GGUF, Hugging Face
constexpr std::array<NamePair, 3> kModelTensors = {{
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
}};
// After "blk.N." and "model.layers.N.".
constexpr std::array<NamePair, 2> kLayerTensors = {{
    {"attn_norm.weight", "input_layernorm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
}};
// Linears: with .weight and maybe .bias.
constexpr std::array<NamePair, 7> kLayerLinears = {{
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
}};

// Keys that change what a layer computes and that a Hugging Face LlamaForCausalLM has no word for.
constexpr std::array<const char*, 6> kForeignKeys = {
    "llama.logit_scale",     "llama.embedding_scale",     "llama.residual_scale",
    "llama.attention.scale", "llama.attention.clamp_kqv", "llama.attention.sliding_window",
};

std::optional<std::string> LayerTensorName(std::string_view suffix) {
  for (const auto& [gguf, hf] : kLayerTensors) {
    if (suffix == gguf) return std::string(hf);
  }
  for (const auto& [gguf, hf] : kLayerLinears) {
    if (suffix.substr(0, gguf.size()) != gguf) continue;
    const std::string_view kind = suffix.substr(gguf.size());
    if (kind == ".weight" || kind == ".bias") return std::string(hf) + std::string(kind);
  }
  return std::nullopt;
}

const GgufTensor* FindTensor(const GgufFile& gguf, std::string_view name) {
  for (const GgufTensor& tensor : gguf.tensors()) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

// A float of the file as a person would have written it in config.json: 1e-05,
// not 9.99999974737875e-06. Both are the same f32.
double Shortest(double value) {
  const auto single = static_cast<float>(value);
  if (static_cast<double>(single) != value) return value;
  const std::string text = fmt::format("{}", single);
  double shortest = value;
  std::from_chars(text.data(), text.data() + text.size(), shortest);
  return shortest;
}

absl::StatusOr<double> GetPositive(const GgufFile& gguf, const std::string& key,
                                   std::optional<double> fallback) {
  if (fallback.has_value() && !gguf.Has(key)) return *fallback;
  BITDIAL_ASSIGN_OR_RETURN(const double value, gguf.GetFloat(key));
  if (!(value > 0 && value < 1e12)) {
    return DataLoss("{}: metadata key \"{}\" is {}, expected a positive number", gguf.path(), key,
                    value);
  }
  return Shortest(value);
}

// llama.attention.head_count_kv: one number, or one per layer (all equal in a Llama).
absl::StatusOr<int64_t> GetKvHeads(const GgufFile& gguf, int64_t num_heads) {
  const std::string key = "llama.attention.head_count_kv";
  if (!gguf.IsArray(key)) return gguf.GetIntOr(key, num_heads, 1, num_heads);
  BITDIAL_ASSIGN_OR_RETURN(const std::vector<int64_t> per_layer, gguf.GetInts(key));
  for (const int64_t count : per_layer) {
    if (count != per_layer.front()) {
      return Unimplemented("{}: layers with different numbers of KV heads ({} and {}) are not read",
                           gguf.path(), per_layer.front(), count);
    }
  }
  if (per_layer.empty() || per_layer.front() < 1 || per_layer.front() > num_heads) {
    return DataLoss("{}: metadata key \"{}\" must hold 1 to {} heads", gguf.path(), key, num_heads);
  }
  return per_layer.front();
}

// The value of "rope_scaling", null when positions are not scaled.
absl::StatusOr<Json> MakeRopeScaling(const GgufFile& gguf, const GgufLlamaShape& shape,
                                     double rope_theta) {
  BITDIAL_ASSIGN_OR_RETURN(const std::string_view type,
                           gguf.GetStringOr("llama.rope.scaling.type", "none"));
  if (const GgufTensor* freqs = FindTensor(gguf, "rope_freqs.weight"); freqs != nullptr) {
    if (freqs->type != GgmlType::kF32 || freqs->shape != Shape{shape.head_dim / 2} ||
        type == "linear") {
      return DataLoss(
          "{}: tensor \"rope_freqs.weight\" must be {} values of F32 without linear scaling beside "
          "it",
          gguf.path(), shape.head_dim / 2);
    }
    std::vector<float> factors(static_cast<size_t>(shape.head_dim / 2));
    DequantizeGgml(GgmlType::kF32, freqs->data, shape.head_dim / 2, factors.data());
    std::optional<Json> scaling = FitLlama3RopeScaling(factors, rope_theta);
    if (!scaling.has_value()) {
      return Unimplemented(
          "{}: the factors in tensor \"rope_freqs.weight\" are not those of llama3 rope scaling",
          gguf.path());
    }
    return *std::move(scaling);
  }
  if (type == "linear" || gguf.Has("llama.rope.scale_linear")) {
    const std::string key =
        type == "linear" ? "llama.rope.scaling.factor" : "llama.rope.scale_linear";
    BITDIAL_ASSIGN_OR_RETURN(const double factor, GetPositive(gguf, key, std::nullopt));
    return Json{{"rope_type", "linear"}, {"factor", factor}};
  }
  if (type != "none") {
    return Unimplemented("{}: rope scaling \"{}\" is not read (linear and llama3 are)", gguf.path(),
                         type.substr(0, 40));
  }
  return Json();
}

}  // namespace

std::optional<std::string> HfTensorName(std::string_view gguf_name) {
  for (const auto& [gguf, hf] : kModelTensors) {
    if (gguf_name == gguf) return std::string(hf);
  }
  constexpr std::string_view kPrefix = "blk.";
  if (gguf_name.substr(0, kPrefix.size()) != kPrefix) return std::nullopt;
  const std::string_view rest = gguf_name.substr(kPrefix.size());
  int64_t layer = -1;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), layer);
  const std::string_view digits = rest.substr(0, static_cast<size_t>(end - rest.data()));
  // The number is written one way only, else two tensors could have one name.
  if (error != std::errc() || layer < 0 || digits != std::to_string(layer)) return std::nullopt;
  if (digits.size() == rest.size() || rest[digits.size()] != '.') return std::nullopt;
  const std::optional<std::string> name = LayerTensorName(rest.substr(digits.size() + 1));
  if (!name.has_value()) return std::nullopt;
  return fmt::format("model.layers.{}.{}", layer, *name);
}

absl::StatusOr<GgufLlamaShape> ReadGgufLlamaShape(const GgufFile& gguf) {
  BITDIAL_ASSIGN_OR_RETURN(const std::string_view architecture,
                           gguf.GetString("general.architecture"));
  if (architecture != "llama") {
    return Unimplemented("{}: GGUF architecture \"{}\" is not read (llama is)", gguf.path(),
                         architecture.substr(0, 40));
  }
  for (const char* key : kForeignKeys) {
    if (gguf.Has(key))
      return Unimplemented("{}: a Llama with \"{}\" is not read", gguf.path(), key);
  }
  BITDIAL_ASSIGN_OR_RETURN(const int64_t num_experts,
                           gguf.GetIntOr("llama.expert_count", 0, 0, kMaxCount));
  if (num_experts > 0)
    return Unimplemented("{}: mixtures of experts ({}) are not read", gguf.path(), num_experts);

  GgufLlamaShape shape;
  BITDIAL_ASSIGN_OR_RETURN(shape.num_layers, gguf.GetInt("llama.block_count", 1, kMaxLayers));
  BITDIAL_ASSIGN_OR_RETURN(shape.hidden_size, gguf.GetInt("llama.embedding_length", 1, kMaxCount));
  BITDIAL_ASSIGN_OR_RETURN(shape.num_heads,
                           gguf.GetInt("llama.attention.head_count", 1, kMaxCount));
  BITDIAL_ASSIGN_OR_RETURN(shape.num_kv_heads, GetKvHeads(gguf, shape.num_heads));
  BITDIAL_ASSIGN_OR_RETURN(shape.head_dim,
                           gguf.GetIntOr("llama.attention.key_length",
                                         shape.hidden_size / shape.num_heads, 2, kMaxCount));
  if (shape.head_dim < 2 || shape.head_dim % 2 != 0 || shape.num_heads % shape.num_kv_heads != 0) {
    return DataLoss("{}: {} heads, {} KV heads of {} values do not make an attention layer",
                    gguf.path(), shape.num_heads, shape.num_kv_heads, shape.head_dim);
  }
  for (const char* key : {"llama.rope.dimension_count", "llama.attention.value_length"}) {
    BITDIAL_ASSIGN_OR_RETURN(const int64_t dim, gguf.GetIntOr(key, shape.head_dim, 1, kMaxCount));
    if (dim != shape.head_dim) {
      return Unimplemented("{}: \"{}\" is {}, only heads of one size ({}), rotated whole, are read",
                           gguf.path(), key, dim, shape.head_dim);
    }
  }
  return shape;
}

absl::StatusOr<Json> MakeHfConfig(const GgufFile& gguf, const GgufLlamaShape& shape) {
  const GgufTensor* embedding = FindTensor(gguf, "token_embd.weight");
  if (embedding == nullptr || embedding->shape.rank != 2 ||
      embedding->shape[1] != shape.hidden_size) {
    return DataLoss(
        "{}: tensor \"token_embd.weight\" [vocab_size, {}] is missing or of another shape",
        gguf.path(), shape.hidden_size);
  }
  const int64_t vocab_size = embedding->shape[0];
  BITDIAL_ASSIGN_OR_RETURN(const int64_t intermediate_size,
                           gguf.GetInt("llama.feed_forward_length", 1, kMaxCount));
  BITDIAL_ASSIGN_OR_RETURN(const int64_t context_length,
                           gguf.GetInt("llama.context_length", 1, kMaxCount));
  BITDIAL_ASSIGN_OR_RETURN(
      const double rms_norm_eps,
      GetPositive(gguf, "llama.attention.layer_norm_rms_epsilon", std::nullopt));
  BITDIAL_ASSIGN_OR_RETURN(const double rope_theta,
                           GetPositive(gguf, "llama.rope.freq_base", 10000.0));
  BITDIAL_ASSIGN_OR_RETURN(Json rope_scaling, MakeRopeScaling(gguf, shape, rope_theta));

  Json config = {
      {"architectures", {"LlamaForCausalLM"}},
      {"model_type", "llama"},
      {"hidden_act", "silu"},
      {"hidden_size", shape.hidden_size},
      {"intermediate_size", intermediate_size},
      {"num_hidden_layers", shape.num_layers},
      {"num_attention_heads", shape.num_heads},
      {"num_key_value_heads", shape.num_kv_heads},
      {"head_dim", shape.head_dim},
      {"rms_norm_eps", rms_norm_eps},
      {"rope_theta", rope_theta},
      {"rope_scaling", std::move(rope_scaling)},
      {"max_position_embeddings", context_length},
      {"vocab_size", vocab_size},
      {"tie_word_embeddings", FindTensor(gguf, "output.weight") == nullptr},
      {"attention_bias", FindTensor(gguf, "blk.0.attn_q.bias") != nullptr},
      {"mlp_bias", FindTensor(gguf, "blk.0.ffn_gate.bias") != nullptr},
      {"torch_dtype", "float32"},
  };
  for (const char* key : {"bos_token_id", "eos_token_id"}) {
    const std::string gguf_key = fmt::format("tokenizer.ggml.{}", key);
    if (!gguf.Has(gguf_key)) continue;
    BITDIAL_ASSIGN_OR_RETURN(config[key], gguf.GetInt(gguf_key, 0, vocab_size - 1));
  }
  return config;
}

absl::StatusOr<Json> MakeHfGenerationConfig(const GgufFile& gguf, int64_t vocab_size) {
  Json config = Json::object();
  if (gguf.Has("tokenizer.ggml.bos_token_id")) {
    BITDIAL_ASSIGN_OR_RETURN(config["bos_token_id"],
                             gguf.GetInt("tokenizer.ggml.bos_token_id", 0, vocab_size - 1));
  }
  std::vector<int64_t> eos_ids;
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    if (!gguf.Has(key)) continue;
    BITDIAL_ASSIGN_OR_RETURN(const int64_t id, gguf.GetInt(key, 0, vocab_size - 1));
    if (std::find(eos_ids.begin(), eos_ids.end(), id) == eos_ids.end()) eos_ids.push_back(id);
  }
  if (!eos_ids.empty()) config["eos_token_id"] = eos_ids;
  return config;
}

}  // namespace bitdial::quant
