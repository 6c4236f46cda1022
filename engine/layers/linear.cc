#include "engine/layers/linear.h"

namespace bitdial::engine {

using kernels::KernelKey;
using kernels::Op;
using kernels::Role;
using kernels::WeightFormat;

absl::StatusOr<Linear> Linear::Load(WeightLoader& loader, const std::string& prefix,
                                    int64_t out_features, int64_t in_features, bool has_bias) {
  BITDIAL_ASSIGN_OR_RETURN(auto weight, loader.ReadWeight(prefix, out_features, in_features));
  BITDIAL_ASSIGN_OR_RETURN(Linear linear, Over(loader, std::move(weight)));
  if (has_bias) {
    BITDIAL_ASSIGN_OR_RETURN(linear.bias_, loader.ReadVector(prefix + ".bias", out_features));
  }
  return linear;
}

absl::StatusOr<Linear> Linear::Over(WeightLoader& loader, std::shared_ptr<const Weight> weight) {
  Linear linear;
  KernelKey key{.op = Op::kLinear, .weight_format = weight->format, .role = Role::kPrompt};
  BITDIAL_ASSIGN_OR_RETURN(
      linear.prompt_, loader.FindKernel<kernels::LinearFn>(key, weight->shape(), weight->name));
  key.role = Role::kDecode;
  BITDIAL_ASSIGN_OR_RETURN(
      linear.decode_, loader.FindKernel<kernels::LinearFn>(key, weight->shape(), weight->name));
  linear.weight_ = std::move(weight);
  return linear;
}

void Linear::Forward(Matrix<const float> x, Matrix<float> y, const RowGroup& rows,
                     StepContext& step) const {
  const auto run = [&](kernels::LinearFn kernel, int64_t begin, int64_t count) {
    if (count == 0) return;
    kernel({.dense = weight_->format == WeightFormat::kDense ? &weight_->dense : nullptr,
            .bcq = weight_->format == WeightFormat::kBcq ? &weight_->bcq : nullptr,
            .x = x.Rows(begin, count),
            .y = y.Rows(begin, count),
            .bits = rows.bits + begin,
            .bias = bias_.empty() ? nullptr : bias_.data(),
            .traffic = step.traffic},
           step.stream);
  };
  run(prompt_, 0, rows.num_prompt_rows);
  run(decode_, rows.num_prompt_rows, rows.num_decode_rows());
}

absl::StatusOr<Embedding> Embedding::Load(WeightLoader& loader, const std::string& prefix,
                                          int64_t vocab_size, int64_t hidden_size) {
  Embedding embedding;
  BITDIAL_ASSIGN_OR_RETURN(embedding.weight_, loader.ReadWeight(prefix, vocab_size, hidden_size));
  const KernelKey key{.op = Op::kEmbedding, .weight_format = embedding.weight_->format};
  BITDIAL_ASSIGN_OR_RETURN(embedding.lookup_, loader.FindKernel<kernels::EmbeddingFn>(
                                                  key, embedding.weight_->shape(), prefix));
  return embedding;
}

void Embedding::Forward(const Batch& batch, Matrix<float> out, StepContext& step) const {
  lookup_({.dense = weight_->format == WeightFormat::kDense ? &weight_->dense : nullptr,
           .bcq = weight_->format == WeightFormat::kBcq ? &weight_->bcq : nullptr,
           .token_ids = batch.token_ids(),
           .bits = batch.bits(),
           .out = out},
          step.stream);
}

}  // namespace bitdial::engine
