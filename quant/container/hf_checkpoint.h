// A Hugging Face folder: config.json, generation_config.json and safetensors, whole or in shards.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "quant/container/checkpoint.h"
#include "quant/container/safetensors_file.h"

namespace bitdial::quant {

class HfCheckpoint final : public Checkpoint {
 public:
  // Errors  as Checkpoint::Open.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& folder);

  CheckpointForm form() const override { return CheckpointForm::kHuggingFace; }
  std::string tokenizer_path() const override { return path_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  absl::StatusOr<DenseTensor> ReadDense(const std::string& name) const override;
  void Forget(const std::string& name) const override;

 private:
  struct Location {
    const SafetensorsFile* file;
    const SafetensorsEntry* entry;
  };

  absl::Status ReadConfigs();
  absl::Status OpenWeights();
  absl::Status OpenShards(const std::string& index_path);
  absl::StatusOr<const SafetensorsFile*> AddFile(const std::string& path);

  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Location> locations_;  // by tensor name
  std::vector<TensorInfo> tensors_;
};

}  // namespace bitdial::quant
