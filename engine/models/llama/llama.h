// The Llama family: Llama 1, 2, 3 and whatever shares the class LlamaForCausalLM. README.md says
// what is in and out.
#pragma once

#include <memory>
#include <vector>

#include "engine/layers/warm_up.h"
#include "engine/models/decoder_model.h"
#include "engine/models/llama/config.h"
#include "engine/models/llama/weights.h"

namespace bitdial::engine {

class LlamaModel final : public DecoderModel {
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
    kernels::RmsNormFn rms_norm = nullptr;
    kernels::RopeFn rope = nullptr;
    kernels::KvAppendFn kv_append = nullptr;
    kernels::AttentionFn attention = nullptr;
    kernels::SiluMulFn silu_mul = nullptr;
    kernels::AddFn add = nullptr;
  };
  LlamaModel() = default;
  absl::Status ResolveKernels(WeightLoader& loader, const ModelOptions& options);
  void FillInfo(const WeightLoader& loader, const ModelOptions& options);
  void MakeRopeTables(int64_t max_context);

  void Attention(const LlamaLayer& layer, Matrix<float> hidden, const Batch& batch,
                 const kernels::KvSegment& segment, StepContext& step) const;
  void Norm(const std::vector<float>& weight, Matrix<const float> x, Matrix<float> out,
            StepContext& step) const;
  void Rotate(Matrix<float> x, int64_t num_heads, const Batch& batch, StepContext& step) const;
  void Mlp(const LlamaLayer& layer, Matrix<float> hidden, const Batch& batch,
           StepContext& step) const;

  LlamaConfig config_;
  LlamaWeights weights_;
  LayersToRun layers_to_run_;
  Kernels kernels_;
  ModelInfo info_;
  kvcache::KvShape kv_shape_;
  std::vector<float> rope_cos_;  // [max_context, head_dim / 2]
  std::vector<float> rope_sin_;  // [max_context, head_dim / 2]
};

absl::StatusOr<std::unique_ptr<DecoderModel>> LoadLlama(WeightLoader& loader,
                                                        const ModelOptions& options);

// As CheckModel, of this family.
absl::Status CheckLlama(const quant::Checkpoint& checkpoint);

}  // namespace bitdial::engine
