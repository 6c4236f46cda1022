#include "quant/methods/decoder_names.h"

#include <algorithm>

namespace bitdial::quant {
namespace {

// A row a family. Positions, norms, biases and projections beside the layers stay dense.
struct Family {
  const char* architecture;           // config.json "architectures"[0]
  std::vector<std::string> decoders;  // the first is assumed when the file has none
  std::vector<std::string> modules;
  bool is_tied_by_default;  // where config.json does not say
};

const std::vector<Family>& Families() {
  static const auto* const kFamilies = new std::vector<Family>{
      {.architecture = "LlamaForCausalLM",
       .decoders = {"model"},
       .modules = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                   "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
       .is_tied_by_default = false},
      {.architecture = "OPTForCausalLM",
       .decoders = {"model.decoder", "decoder"},
       .modules = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj",
                   "fc1", "fc2"},
       .is_tied_by_default = true},
  };
  return *kFamilies;
}

absl::StatusOr<const Family*> FindFamily(JsonObject& config) {
  BITDIAL_ASSIGN_OR_RETURN(const std::vector<std::string> architectures,
                           config.GetStringListOr("architectures"));
  std::string known;
  for (const Family& family : Families()) {
    if (architectures.size() == 1 && architectures[0] == family.architecture) return &family;
    known += (known.empty() ? "" : ", ") + std::string(family.architecture);
  }
  return Unimplemented("{}: \"architectures\" [{}] cannot be quantized; this build knows {}",
                       config.what(), fmt::join(architectures, ", "), known);
}

absl::StatusOr<DecoderNames> Find(const Checkpoint& source) {
  BITDIAL_ASSIGN_OR_RETURN(JsonObject config,
                           JsonObject::Make(source.config(), source.path() + ": config"));
  BITDIAL_ASSIGN_OR_RETURN(const Family* family, FindFamily(config));
  DecoderNames names{.decoder = family->decoders.front(), .modules = family->modules};
  for (const std::string& decoder : family->decoders) {
    if (!source.Has(decoder + ".embed_tokens.weight")) continue;
    names.decoder = decoder;
    break;
  }
  BITDIAL_ASSIGN_OR_RETURN(names.is_tied,
                           config.GetBoolOr("tie_word_embeddings", family->is_tied_by_default));
  return names;
}

}  // namespace

bool DecoderNames::IsLinear(const std::string& name) const {
  if (!name.starts_with(decoder + ".layers.")) return false;
  return std::any_of(modules.begin(), modules.end(), [&](const std::string& module) {
    return name.ends_with("." + module + ".weight");
  });
}

absl::StatusOr<DecoderNames> FindDecoderNames(const Checkpoint& source) {
  absl::StatusOr<DecoderNames> names = Find(source);
  // A wrong type in the file is the file's fault, not the caller's.
  if (!absl::IsInvalidArgument(names.status())) return names;
  return absl::DataLossError(names.status().message());
}

}  // namespace bitdial::quant
