// A GGUF file of the "llama" architecture, seen as the Hugging Face model it was made from.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "quant/container/checkpoint.h"
#include "quant/container/gguf_file.h"

namespace bitdial::quant {

class GgufCheckpoint final : public Checkpoint {
 public:
  // Errors  as Checkpoint::Open.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& path);
  static absl::StatusOr<std::unique_ptr<Checkpoint>> FromFile(std::unique_ptr<GgufFile> gguf);

  CheckpointForm form() const override { return CheckpointForm::kGguf; }
  std::string tokenizer_path() const override { return path_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  absl::StatusOr<DenseTensor> ReadDense(const std::string& name) const override;
  void Forget(const std::string& name) const override;

 private:
  struct Location {
    const GgufTensor* tensor;
    int64_t
        num_permuted_heads;  // q and k projections: heads whose rows llama.cpp reordered; else 0
  };

  absl::Status PlaceTensors(int64_t num_heads, int64_t num_kv_heads, int64_t head_dim);

  std::unique_ptr<GgufFile> gguf_;
  std::map<std::string, Location> locations_;  // by Hugging Face name
  std::vector<TensorInfo> tensors_;
};

}  // namespace bitdial::quant
