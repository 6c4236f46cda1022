// Every model family, in one list: a new one is a folder beside llama/ and a line here.
#include "engine/models/decoder_model.h"
#include "engine/models/llama/llama.h"
#include "engine/models/opt/opt.h"
#include "quant/container/json_reader.h"

namespace bitdial::engine {
namespace {

using LoadFn = absl::StatusOr<std::unique_ptr<DecoderModel>> (*)(WeightLoader&,
                                                                 const ModelOptions&);

using CheckFn = absl::Status (*)(const quant::Checkpoint&);

struct Family {
  const char* architecture;  // config.json "architectures"[0]
  LoadFn load;
  CheckFn check;
};

constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", &LoadLlama, &CheckLlama},
    {"OPTForCausalLM", &LoadOpt, &CheckOpt},
};

absl::StatusOr<const Family*> FindFamily(const quant::Checkpoint& checkpoint) {
  BITDIAL_ASSIGN_OR_RETURN(JsonObject config,
                           JsonObject::Make(checkpoint.config(), checkpoint.path() + ": config"));
  BITDIAL_ASSIGN_OR_RETURN(const std::vector<std::string> architectures,
                           config.GetStringListOr("architectures"));
  if (architectures.size() != 1) {
    return DataLoss("{}: \"architectures\" holds {} names, expected one", config.what(),
                    architectures.size());
  }
  std::string known;
  for (const Family& family : kFamilies) {
    if (architectures[0] == family.architecture) return &family;
    known += (known.empty() ? "" : ", ") + std::string(family.architecture);
  }
  return Unimplemented("{}: architecture \"{}\" is not supported; this build has {}", config.what(),
                       architectures[0], known);
}

}  // namespace

absl::StatusOr<std::unique_ptr<DecoderModel>> LoadModel(WeightLoader& loader,
                                                        const ModelOptions& options) {
  BITDIAL_ASSIGN_OR_RETURN(const Family* family, FindFamily(loader.checkpoint()));
  return family->load(loader, options);
}

absl::Status CheckModel(const quant::Checkpoint& checkpoint) {
  BITDIAL_ASSIGN_OR_RETURN(const Family* family, FindFamily(checkpoint));
  return family->check(checkpoint);
}

}  // namespace bitdial::engine
