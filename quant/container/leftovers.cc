#include "quant/container/leftovers.h"

#include <algorithm>
#include <charconv>
#include <string_view>

namespace bitdial::quant {
namespace {

constexpr int64_t kMaxLayers = 1 << 16;

// What decides which tensors a LlamaForCausalLM reads.
struct Facts {
  int64_t num_layers = 0;
  bool is_tied = false;
  bool has_attention_bias = false;
  bool has_mlp_bias = false;
};

absl::StatusOr<Facts> ReadFacts(JsonObject& config) {
  Facts facts;
  BITDIAL_ASSIGN_OR_RETURN(facts.num_layers, config.GetInt("num_hidden_layers", 1, kMaxLayers));
  BITDIAL_ASSIGN_OR_RETURN(facts.is_tied, config.GetBoolOr("tie_word_embeddings", false));
  BITDIAL_ASSIGN_OR_RETURN(facts.has_attention_bias, config.GetBoolOr("attention_bias", false));
  BITDIAL_ASSIGN_OR_RETURN(facts.has_mlp_bias, config.GetBoolOr("mlp_bias", false));
  return facts;
}

bool BeginsWith(std::string_view text, std::string_view beginning) {
  return text.substr(0, beginning.size()) == beginning;
}

bool EndsWith(std::string_view text, std::string_view ending) {
  return text.size() >= ending.size() && text.substr(text.size() - ending.size()) == ending;
}

// "model.layers.7.mlp.up_proj" -> "mlp.up_proj"; empty for what is in none of the layers. The
// number is written one way only.
std::string_view ModuleInLayer(std::string_view module, int64_t num_layers) {
  constexpr std::string_view kLayers = "model.layers.";
  if (!BeginsWith(module, kLayers)) return {};
  module.remove_prefix(kLayers.size());
  int64_t layer = -1;
  const auto [end, error] = std::from_chars(module.data(), module.data() + module.size(), layer);
  const std::string digits = std::to_string(layer);
  if (error != std::errc() || layer < 0 || layer >= num_layers ||
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

bool IsRead(const Checkpoint& checkpoint, const Facts& facts, const std::string& name) {
  const size_t dot = std::min(name.rfind('.'), name.size());
  const std::string module = name.substr(0, dot);
  const std::string kind = name.substr(std::min(dot + 1, name.size()));
  if (module == "model.norm") return kind == "weight";
  if (module == "model.embed_tokens" || module == "lm_head")
    return IsPartOfMatrix(checkpoint, module, kind, /*has_bias=*/false);
  const std::string_view in_layer = ModuleInLayer(module, facts.num_layers);
  if (in_layer == "input_layernorm" || in_layer == "post_attention_layernorm")
    return kind == "weight";
  const bool has_bias =
      BeginsWith(in_layer, "mlp.") ? facts.has_mlp_bias : facts.has_attention_bias;
  const std::vector<std::string>& linears = LinearModules();
  return std::find(linears.begin(), linears.end(), in_layer) != linears.end() &&
         IsPartOfMatrix(checkpoint, module, kind, has_bias);
}

bool MeansNothing(const Facts& facts, std::string_view name) {
  return EndsWith(name, ".rotary_emb.inv_freq") || (facts.is_tied && BeginsWith(name, "lm_head."));
}

}  // namespace

const std::vector<std::string>& LinearModules() {
  static const std::vector<std::string> modules = {
      "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
      "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
  return modules;
}

absl::StatusOr<std::vector<std::string>> FindLeftovers(const Checkpoint& checkpoint) {
  std::vector<std::string> leftovers;
  const auto architectures = checkpoint.config().find("architectures");
  if (architectures == checkpoint.config().end() ||
      *architectures != Json::array({"LlamaForCausalLM"}))
    return leftovers;
  BITDIAL_ASSIGN_OR_RETURN(JsonObject config,
                           JsonObject::Make(checkpoint.config(), checkpoint.path() + ": config"));
  const absl::StatusOr<Facts> facts = ReadFacts(config);
  if (!facts.ok()) return absl::DataLossError(facts.status().message());
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    if (!IsRead(checkpoint, *facts, tensor.name) && !MeansNothing(*facts, tensor.name))
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
