// The OPT family. README.md says what is in and out, and how it differs from Llama.
#pragma once

#include <memory>

#include "engine/layers/warm_up.h"
#include "engine/models/decoder_model.h"
#include "engine/models/opt/config.h"
#include "engine/models/opt/weights.h"

namespace bitdial::engine {

class OptModel final : public DecoderModel {
 public:
  static absl::StatusOr<std::unique_ptr<DecoderModel>> Load(WeightLoader& loader,
                                                            const ModelOptions& options);

  const ModelInfo& info() const override { return info_; }
  const kvcache::KvShape& kv_shape() const override { return kv_shape_; }
  int64_t WorkspaceFloats(int64_t max_tokens, int64_t max_logits_rows) const override;
  Matrix<float> Forward(const Batch& batch, const kvcache::KvStore& kv,
                        StepContext& step) const override;
  Matrix<float> Logits(Matrix<const float> hidden, std::span<const LogitsRow> wanted,
                       const uint8_t* row_bits, kernels::Role role,
                       StepContext& step) const override;

 private:
  // Kernel rows that have no weight in a layout of their own.
  struct Kernels {
    kernels::LayerNormFn layer_norm = nullptr;
    kernels::KvAppendFn kv_append = nullptr;
    kernels::AttentionFn attention = nullptr;
    kernels::ReluFn relu = nullptr;  // this or gelu
    kernels::GeluFn gelu = nullptr;
    kernels::AddFn add = nullptr;
  };
  OptModel() = default;
  absl::Status ResolveKernels(WeightLoader& loader, const ModelOptions& options);
  void FillInfo(const WeightLoader& loader, const ModelOptions& options);

  void Embed(Matrix<float> hidden, const Batch& batch, StepContext& step) const;
  void Attention(const OptLayer& layer, Matrix<float> hidden, const Batch& batch,
                 const kernels::KvSegment& segment, StepContext& step) const;
  void Mlp(const OptLayer& layer, Matrix<float> hidden, const Batch& batch,
           StepContext& step) const;
  void Norm(const OptNorm& norm, Matrix<const float> x, Matrix<float> out, StepContext& step) const;
  void Activate(Matrix<float> x, StepContext& step) const;

  OptConfig config_;
  OptWeights weights_;
  LayersToRun layers_to_run_;
  Kernels kernels_;
  ModelInfo info_;
  kvcache::KvShape kv_shape_;
};

absl::StatusOr<std::unique_ptr<DecoderModel>> LoadOpt(WeightLoader& loader,
                                                      const ModelOptions& options);

// As CheckModel, of this family.
absl::Status CheckOpt(const quant::Checkpoint& checkpoint);

}  // namespace bitdial::engine
