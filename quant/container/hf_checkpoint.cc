#include "quant/container/hf_checkpoint.h"

#include <cstring>
#include <set>

#include "quant/container/path_exists.h"

namespace bitdial::quant {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";

bool IsAligned(const SafetensorsEntry& entry) {
  return reinterpret_cast<uintptr_t>(entry.data.data()) % SizeOf(entry.dtype) == 0;
}

// A shard lies beside its index: a name that leads elsewhere is an attack or a mistake.
bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\\') == std::string::npos && name.find('\0') == std::string::npos;
}

absl::StatusOr<QuantizationInfo> ReadQuantization(JsonObject anybcq) {
  constexpr int kMaxBits = 8;
  constexpr int64_t kMaxGroupSize = 1 << 24;
  QuantizationInfo info;
  BITDIAL_ASSIGN_OR_RETURN(const int64_t min_bits, anybcq.GetInt("seed_precision", 1, kMaxBits));
  BITDIAL_ASSIGN_OR_RETURN(const int64_t max_bits,
                           anybcq.GetInt("parent_precision", min_bits, kMaxBits));
  BITDIAL_ASSIGN_OR_RETURN(info.group_size, anybcq.GetInt("group_size", -1, kMaxGroupSize));
  if (info.group_size == 0) {
    return InvalidArgument("{}: \"group_size\" is 0, expected -1 (a whole row) or at least 1",
                           anybcq.what());
  }
  BITDIAL_ASSIGN_OR_RETURN(info.method, anybcq.GetStringOr("method", "anybcq"));
  info.min_bits = static_cast<int>(min_bits);
  info.max_bits = static_cast<int>(max_bits);
  return info;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> HfCheckpoint::Open(const std::string& folder) {
  auto checkpoint = std::make_unique<HfCheckpoint>();
  checkpoint->path_ = folder;
  BITDIAL_RETURN_IF_ERROR(checkpoint->ReadConfigs());
  BITDIAL_RETURN_IF_ERROR(checkpoint->OpenWeights());
  return checkpoint;
}

absl::Status HfCheckpoint::ReadConfigs() {
  const std::string config_path = path_ + "/config.json";
  BITDIAL_ASSIGN_OR_RETURN(const bool has_config, PathExists(config_path));
  if (!has_config) {
    return NotFound(
        "{}: this folder has no config.json; expected a Hugging Face or quantized model folder",
        path_);
  }
  BITDIAL_ASSIGN_OR_RETURN(config_, ReadJsonFile(config_path));
  BITDIAL_ASSIGN_OR_RETURN(JsonObject config, JsonObject::Make(config_, config_path));
  BITDIAL_ASSIGN_OR_RETURN(const auto architectures, config.GetStringListOr("architectures"));
  if (architectures.empty()) {
    return InvalidArgument(
        "{}: \"architectures\" is missing or empty, expected for example [\"LlamaForCausalLM\"]",
        config_path);
  }
  BITDIAL_ASSIGN_OR_RETURN(auto foreign, config.GetObject("quantization_config"));
  if (foreign.has_value()) {
    BITDIAL_ASSIGN_OR_RETURN(const std::string method,
                             foreign->GetStringOr("quant_method", "unnamed"));
    return Unimplemented("{}: weights quantized by \"{}\" are not read; use the original model",
                         config_path, method);
  }
  BITDIAL_ASSIGN_OR_RETURN(auto anybcq, config.GetObject("anybcq"));
  if (anybcq.has_value()) {
    BITDIAL_ASSIGN_OR_RETURN(quantization_, ReadQuantization(*anybcq));
    has_quantization_ = true;
    // What our own quantizer adds: the release's section has no word for the method.
    BITDIAL_ASSIGN_OR_RETURN(auto ours, config.GetObject("bitdial"));
    if (ours.has_value()) {
      BITDIAL_ASSIGN_OR_RETURN(quantization_.method,
                               ours->GetStringOr("method", quantization_.method));
    }
  }

  const std::string generation_path = path_ + "/generation_config.json";
  BITDIAL_ASSIGN_OR_RETURN(const bool has_generation, PathExists(generation_path));
  if (!has_generation) return absl::OkStatus();
  BITDIAL_ASSIGN_OR_RETURN(generation_config_, ReadJsonFile(generation_path));
  return JsonObject::Make(generation_config_, generation_path).status();
}

absl::Status HfCheckpoint::OpenWeights() {
  const std::string single_path = path_ + "/" + kSingleFile;
  const std::string index_path = path_ + "/" + kIndexFile;
  BITDIAL_ASSIGN_OR_RETURN(const bool has_single, PathExists(single_path));
  BITDIAL_ASSIGN_OR_RETURN(const bool has_index, PathExists(index_path));
  // With both, the single file wins, as in transformers.
  if (has_single) {
    BITDIAL_RETURN_IF_ERROR(AddFile(single_path).status());
  } else if (has_index) {
    BITDIAL_RETURN_IF_ERROR(OpenShards(index_path));
  } else {
    const bool is_pickled = PathExists(path_ + "/pytorch_model.bin").value_or(false) ||
                            PathExists(path_ + "/pytorch_model.bin.index.json").value_or(false);
    return NotFound("{}: no weights: neither {} nor {} is there{}", path_, kSingleFile, kIndexFile,
                    is_pickled
                        ? "; pytorch_model.bin is not read, since a pickle may run code: load it "
                          "in transformers and save_pretrained() it as safetensors"
                        : "");
  }
  tensors_.reserve(locations_.size());
  for (const auto& [name, location] : locations_) {
    const SafetensorsEntry& entry = *location.entry;
    tensors_.push_back({name, entry.shape, Name(entry.dtype), entry.data.size()});
  }
  return absl::OkStatus();
}

absl::Status HfCheckpoint::OpenShards(const std::string& index_path) {
  BITDIAL_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(index_path));
  BITDIAL_ASSIGN_OR_RETURN(JsonObject index, JsonObject::Make(json, index_path));
  BITDIAL_ASSIGN_OR_RETURN(const auto map_object, index.GetObject("weight_map"));
  if (!map_object.has_value()) return DataLoss("{}: \"weight_map\" is missing", index_path);
  const Json& weight_map = json["weight_map"];

  std::map<std::string, const SafetensorsFile*> shards;
  for (const auto& member : weight_map.items()) {
    if (!member.value().is_string() || !IsPlainFileName(member.value().get<std::string>())) {
      return DataLoss("{}: tensor \"{}\": its shard must be the name of a file in the same folder",
                      index_path, member.key());
    }
    shards.emplace(member.value().get<std::string>(), nullptr);
  }
  for (auto& [shard, file] : shards) {
    const std::string shard_path = path_ + "/" + shard;
    BITDIAL_ASSIGN_OR_RETURN(const bool has_shard, PathExists(shard_path));
    if (!has_shard) {
      return NotFound("{}: shard {} is missing ({} of {} shards are named in {})", path_, shard,
                      files_.size() + 1, shards.size(), kIndexFile);
    }
    BITDIAL_ASSIGN_OR_RETURN(file, AddFile(shard_path));
  }
  for (const auto& member : weight_map.items()) {
    const std::string shard = member.value().get<std::string>();
    const auto found = locations_.find(member.key());
    if (found == locations_.end() || found->second.file != shards[shard]) {
      return DataLoss("{}: tensor \"{}\" is not in shard {}", index_path, member.key(), shard);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<const SafetensorsFile*> HfCheckpoint::AddFile(const std::string& path) {
  BITDIAL_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
  for (const SafetensorsEntry& entry : file->entries()) {
    const auto [other, is_new] = locations_.emplace(entry.name, Location{file.get(), &entry});
    if (!is_new)
      return DataLoss("{}: tensor \"{}\" is also in {}", path, entry.name,
                      other->second.file->path());
  }
  files_.push_back(std::move(file));
  return files_.back().get();
}

absl::StatusOr<DenseTensor> HfCheckpoint::ReadDense(const std::string& name) const {
  const auto found = locations_.find(name);
  if (found == locations_.end()) return NoSuchTensor(name);
  const SafetensorsEntry& entry = *found->second.entry;
  DenseTensor tensor;
  tensor.view = {entry.data.data(), entry.dtype, entry.shape};
  if (!IsAligned(entry)) {  // old writers did not pad the header
    BITDIAL_ASSIGN_OR_RETURN(tensor.storage, Buffer::Allocate(Device::kCpu, entry.data.size()));
    std::memcpy(tensor.storage.data(), entry.data.data(), entry.data.size());
    tensor.view.data = tensor.storage.data();
  }
  return tensor;
}

void HfCheckpoint::Forget(const std::string& name) const {
  const auto found = locations_.find(name);
  if (found != locations_.end()) found->second.file->file().Forget(found->second.entry->data);
}

}  // namespace bitdial::quant
