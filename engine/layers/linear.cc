#include "engine/layers/linear.h"

#include "kernels/formats/bcq/concatenate.h"

namespace bitdial::engine {

using kernels::KernelKey;
using kernels::Op;
using kernels::Role;
using kernels::WeightFormat;

absl::StatusOr<Linear> Linear::Load(WeightLoader& loader, const std::string& prefix,
                                    int64_t out_features, int64_t in_features, bool has_bias) {
  BITDIAL_ASSIGN_OR_RETURN(auto weight, loader.ReadWeight(prefix, out_features, in_features, WeightUse::kProducts));
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

absl::StatusOr<Linear> Linear::LoadHead(WeightLoader& loader,
                                        std::shared_ptr<const Weight> embedding, bool is_tied,
                                        int64_t out_features, int64_t in_features) {
  std::shared_ptr<const Weight> weight = std::move(embedding);
  if (!is_tied) {
    BITDIAL_ASSIGN_OR_RETURN(weight, loader.ReadWeight("lm_head", out_features, in_features,
                                                       WeightUse::kProducts));
  }
  BITDIAL_ASSIGN_OR_RETURN(weight, loader.ForHead(std::move(weight)));
  return Over(loader, std::move(weight));
}

absl::StatusOr<std::optional<Linear>> Linear::Fuse(WeightLoader& loader,
                                                   std::span<const Linear> linears) {
  std::vector<const kernels::BcqWeight*> parts;
  auto whole = std::make_shared<Weight>();
  std::vector<float> bias;
  for (const Linear& linear : linears) {
    if (linear.weight().format != WeightFormat::kBcq) return std::nullopt;
    if (linear.bias_.empty() != linears[0].bias_.empty()) return std::nullopt;
    parts.push_back(&linear.weight().bcq);
    whole->name += (whole->name.empty() ? "" : "|") + linear.weight().name;
    whole->out_features += linear.weight().out_features;
    bias.insert(bias.end(), linear.bias_.begin(), linear.bias_.end());
  }
  if (!kernels::CanConcatenate(parts)) return std::nullopt;
  whole->format = WeightFormat::kBcq;
  whole->in_features = linears[0].weight().in_features;
  BITDIAL_ASSIGN_OR_RETURN(whole->bcq, kernels::Concatenate(parts));
  BITDIAL_ASSIGN_OR_RETURN(Linear linear, Over(loader, std::move(whole)));
  linear.bias_ = std::move(bias);
  return linear;
}

void Linear::Forward(Matrix<const float> x, Matrix<float> y, const RowGroup& rows,
                     StepContext& step) const {
  const auto run = [&](kernels::LinearFn kernel, int64_t begin, int64_t count) {
    if (count == 0) return;
    kernel({.dense = weight_->format == WeightFormat::kDense ? &weight_->dense : nullptr,
            .bcq = weight_->format == WeightFormat::kBcq ? &weight_->bcq : nullptr,
            .int8 = weight_->format == WeightFormat::kInt8 ? &weight_->int8 : nullptr,
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

absl::StatusOr<FusedLinear> FusedLinear::Load(WeightLoader& loader, const std::string& prefix,
                                              std::span<const Part> parts, int64_t in_features,
                                              bool has_bias) {
  FusedLinear fused;
  for (const Part& part : parts) {
    BITDIAL_ASSIGN_OR_RETURN(Linear linear, Linear::Load(loader, prefix + part.name,
                                                         part.out_features, in_features, has_bias));
    fused.linears_.push_back(std::move(linear));
  }
  BITDIAL_ASSIGN_OR_RETURN(std::optional<Linear> whole, Linear::Fuse(loader, fused.linears_));
  if (whole.has_value()) {
    fused.linears_.clear();
    fused.linears_.push_back(*std::move(whole));
  }
  return fused;
}

void FusedLinear::Forward(Matrix<const float> x, Matrix<float> y, const RowGroup& rows,
                          StepContext& step) const {
  int64_t begin = 0;
  for (const Linear& linear : linears_) {
    const int64_t count = linear.weight().out_features;
    linear.Forward(x, y.Cols(begin, count), rows, step);
    begin += count;
  }
}

std::vector<const Linear*> AllLinears(std::initializer_list<const FusedLinear*> fused,
                                      std::initializer_list<const Linear*> single) {
  std::vector<const Linear*> all(single);
  for (const FusedLinear* several : fused) {
    for (const Linear& linear : several->linears()) all.push_back(&linear);
  }
  return all;
}

absl::StatusOr<Embedding> Embedding::Load(WeightLoader& loader, const std::string& prefix,
                                          int64_t vocab_size, int64_t hidden_size) {
  Embedding embedding;
  BITDIAL_ASSIGN_OR_RETURN(embedding.weight_, loader.ReadWeight(prefix, vocab_size, hidden_size, WeightUse::kLookups));
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
