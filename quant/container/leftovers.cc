#include "quant/container/leftovers.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <string_view>

namespace bitdial::quant {
namespace {

constexpr int64_t kMaxLayers = 1 << 16;
constexpr int64_t kMaxFeatures = 1 << 20;

// The tensors of one module: ".weight" of a vector, or a matrix (dense, or planes and scales), and
// ".bias" where it has one.
struct Module {
  bool is_matrix = false;
  bool has_bias = false;
};
using Modules = std::map<std::string, Module, std::less<>>;

// What a model of a config reads.
struct Family {
  std::string layers;  // "model.layers."
  int64_t num_layers = 0;
  Modules in_layer = {};                        // after "model.layers.7."
  Modules beside = {};                          // by whole name
  std::vector<std::string> means_nothing = {};  // names that begin so are passed over
};

absl::StatusOr<Family> ReadLlama(JsonObject& config) {
  Family family{.layers = "model.layers."};
  BITDIAL_ASSIGN_OR_RETURN(family.num_layers, config.GetInt("num_hidden_layers", 1, kMaxLayers));
  BITDIAL_ASSIGN_OR_RETURN(const bool is_tied, config.GetBoolOr("tie_word_embeddings", false));
  BITDIAL_ASSIGN_OR_RETURN(const bool attention_bias, config.GetBoolOr("attention_bias", false));
  BITDIAL_ASSIGN_OR_RETURN(const bool mlp_bias, config.GetBoolOr("mlp_bias", false));
  for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"})
    family.in_layer[std::string("self_attn.") + name] = {true, attention_bias};
  for (const char* name : {"gate_proj", "up_proj", "down_proj"})
    family.in_layer[std::string("mlp.") + name] = {true, mlp_bias};
  family.in_layer["input_layernorm"] = family.in_layer["post_attention_layernorm"] = {};
  family.beside["model.norm"] = {};
  family.beside["model.embed_tokens"] = family.beside["lm_head"] = {.is_matrix = true};
  if (is_tied) family.means_nothing.push_back("lm_head.");
  return family;
}

absl::StatusOr<Family> ReadOpt(const Checkpoint& checkpoint, JsonObject& config) {
  const bool is_base = !checkpoint.Has("model.decoder.embed_positions.weight") &&
                       checkpoint.Has("decoder.embed_positions.weight");
  const std::string decoder = is_base ? "decoder." : "model.decoder.";
  Family family{.layers = decoder + "layers."};
  BITDIAL_ASSIGN_OR_RETURN(family.num_layers, config.GetInt("num_hidden_layers", 1, kMaxLayers));
  BITDIAL_ASSIGN_OR_RETURN(const bool is_tied, config.GetBoolOr("tie_word_embeddings", true));
  BITDIAL_ASSIGN_OR_RETURN(const bool has_bias, config.GetBoolOr("enable_bias", true));
  BITDIAL_ASSIGN_OR_RETURN(const bool is_affine,
                           config.GetBoolOr("layer_norm_elementwise_affine", true));
  BITDIAL_ASSIGN_OR_RETURN(const bool norm_before, config.GetBoolOr("do_layer_norm_before", true));
  BITDIAL_ASSIGN_OR_RETURN(const bool no_final_norm,
                           config.GetBoolOr("_remove_final_layer_norm", false));
  BITDIAL_ASSIGN_OR_RETURN(const int64_t hidden, config.GetInt("hidden_size", 1, kMaxFeatures));
  BITDIAL_ASSIGN_OR_RETURN(const int64_t embed,
                           config.GetIntOr("word_embed_proj_dim", hidden, 1, kMaxFeatures));
  for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                           "self_attn.out_proj", "fc1", "fc2"})
    family.in_layer[name] = {true, has_bias};
  const Module norm = {.has_bias = true};
  if (is_affine)
    family.in_layer["self_attn_layer_norm"] = family.in_layer["final_layer_norm"] = norm;
  if (is_affine && norm_before) family.beside[decoder + "final_layer_norm"] = norm;
  for (const char* name : {"embed_tokens", "embed_positions"})
    family.beside[decoder + name] = {.is_matrix = true};
  if (embed != hidden) {
    for (const char* name : {"project_in", "project_out"})
      family.beside[decoder + name] = {.is_matrix = true};
  }
  family.beside["lm_head"] = {.is_matrix = true};
  if (is_tied) family.means_nothing.push_back("lm_head.");
  if (no_final_norm) family.means_nothing.push_back(decoder + "final_layer_norm.");
  return family;
}

bool BeginsWith(std::string_view text, std::string_view beginning) {
  return text.substr(0, beginning.size()) == beginning;
}

bool EndsWith(std::string_view text, std::string_view ending) {
  return text.size() >= ending.size() && text.substr(text.size() - ending.size()) == ending;
}

// "model.layers.7.mlp.up_proj" -> "mlp.up_proj"; empty for what is in none of the layers. The
// number is written one way only.
std::string_view ModuleInLayer(std::string_view module, const Family& family) {
  if (!BeginsWith(module, family.layers)) return {};
  module.remove_prefix(family.layers.size());
  int64_t layer = -1;
  const auto [end, error] = std::from_chars(module.data(), module.data() + module.size(), layer);
  const std::string digits = std::to_string(layer);
  if (error != std::errc() || layer < 0 || layer >= family.num_layers ||
      !BeginsWith(module, digits + ".")) {
    return {};
  }
  return module.substr(digits.size() + 1);
}

// The part `kind` of the matrix `module`: dense, or planes with their scales. Scales of more bits
// than there are planes belong to nothing.
bool IsPartOfMatrix(const Checkpoint& checkpoint, const std::string& module, std::string_view kind,
                    bool has_bias) {
  if (kind == "bias") return has_bias;
  const TensorInfo* codes = checkpoint.Find(module + ".qweight");
  if (codes == nullptr) return kind == "weight";
  if (kind == "qweight" || kind == "q_bias") return true;
  const int64_t num_planes = codes->shape.rank == 3 ? codes->shape[1] : 0;
  for (int64_t bits = 1; bits <= std::min<int64_t>(num_planes, 8); ++bits) {
    if (kind == fmt::format("alpha_{}", bits) || kind == fmt::format("beta_{}", bits)) return true;
  }
  return false;
}

bool IsRead(const Checkpoint& checkpoint, const Family& family, const std::string& name) {
  const size_t dot = std::min(name.rfind('.'), name.size());
  const std::string module = name.substr(0, dot);
  const std::string kind = name.substr(std::min(dot + 1, name.size()));
  auto found = family.beside.find(module);
  if (found == family.beside.end()) {
    found = family.in_layer.find(ModuleInLayer(module, family));
    if (found == family.in_layer.end()) return false;
  }
  const Module& reads = found->second;
  if (reads.is_matrix) return IsPartOfMatrix(checkpoint, module, kind, reads.has_bias);
  return kind == "weight" || (kind == "bias" && reads.has_bias);
}

bool MeansNothing(const Family& family, std::string_view name) {
  return EndsWith(name, ".rotary_emb.inv_freq") ||
         std::any_of(family.means_nothing.begin(), family.means_nothing.end(),
                     [&](const std::string& beginning) { return BeginsWith(name, beginning); });
}

}  // namespace

absl::StatusOr<std::vector<std::string>> FindLeftovers(const Checkpoint& checkpoint) {
  std::vector<std::string> leftovers;
  const auto architectures = checkpoint.config().find("architectures");
  if (architectures == checkpoint.config().end()) return leftovers;
  const bool is_llama = *architectures == Json::array({"LlamaForCausalLM"});
  if (!is_llama && *architectures != Json::array({"OPTForCausalLM"})) return leftovers;
  BITDIAL_ASSIGN_OR_RETURN(JsonObject config,
                           JsonObject::Make(checkpoint.config(), checkpoint.path() + ": config"));
  const absl::StatusOr<Family> family = is_llama ? ReadLlama(config) : ReadOpt(checkpoint, config);
  if (!family.ok()) return absl::DataLossError(family.status().message());
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    if (!IsRead(checkpoint, *family, tensor.name) && !MeansNothing(*family, tensor.name))
      leftovers.push_back(tensor.name);
  }
  return leftovers;
}

absl::Status RefuseLeftovers(const Checkpoint& checkpoint) {
  BITDIAL_ASSIGN_OR_RETURN(const std::vector<std::string> leftovers, FindLeftovers(checkpoint));
  if (leftovers.empty()) return absl::OkStatus();
  return DataLoss(
      "{}: {} of {} tensors are not read by the model that its config describes, the first is "
      "\"{}\": config and weights are of two models; take both from one source",
      checkpoint.path(), leftovers.size(), checkpoint.tensors().size(), leftovers.front());
}

}  // namespace bitdial::quant
