#include "engine/layers/linear.h"

#include "kernels/formats/bcq/concatenate.h"

namespace bitdial::engine {

using kernels::KernelKey;
using kernels::Op;
using kernels::Role;
using kernels::WeightFormat;

absl::StatusOr<Linear> Linear::Load(WeightLoader& loader, const std::string& prefix,
                                    int64_t out_features, int64_t in_features, bool has_bias) {
  BITDIAL_ASSIGN_OR_RETURN(Linear linear,
                           Read(loader, prefix, out_features, in_features, has_bias));
  BITDIAL_RETURN_IF_ERROR(linear.FindKernels(loader));
  return linear;
}

absl::StatusOr<Linear> Linear::Read(WeightLoader& loader, const std::string& prefix,
                                    int64_t out_features, int64_t in_features, bool has_bias) {
  Linear linear;
  BITDIAL_ASSIGN_OR_RETURN(linear.weight_, loader.ReadWeight(prefix, out_features, in_features,
                                                             WeightUse::kProducts));
  if (has_bias) {
    BITDIAL_ASSIGN_OR_RETURN(linear.bias_, loader.ReadVector(prefix + ".bias", out_features));
  }
  return linear;
}

absl::Status Linear::FindKernels(WeightLoader& loader) {
  BITDIAL_ASSIGN_OR_RETURN(prompt_, loader.FindLinear(Role::kPrompt, *weight_));
  BITDIAL_ASSIGN_OR_RETURN(decode_, loader.FindLinear(Role::kDecode, *weight_));
  return absl::OkStatus();
}

absl::StatusOr<Linear> Linear::LoadHead(WeightLoader& loader,
                                        std::shared_ptr<const Weight> embedding, bool is_tied,
                                        int64_t out_features, int64_t in_features) {
  std::shared_ptr<const Weight> weight = std::move(embedding);
  if (!is_tied) {
    BITDIAL_ASSIGN_OR_RETURN(weight, loader.ReadWeight("lm_head", out_features, in_features,
                                                       WeightUse::kProducts));
  }
  Linear linear;
  BITDIAL_ASSIGN_OR_RETURN(linear.weight_, loader.ForHead(std::move(weight)));
  BITDIAL_RETURN_IF_ERROR(linear.FindKernels(loader));
  return linear;
}

absl::StatusOr<std::optional<Linear>> Linear::Fuse(std::span<const Linear> linears) {
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
  Linear linear;
  linear.weight_ = std::move(whole);
  linear.bias_ = std::move(bias);
  return linear;
}

void Linear::Forward(Matrix<const float> x, Matrix<float> y, const RowGroup& rows,
                     StepContext& step) const {
  const int64_t num_prompt = rows.num_prompt_rows, num_decode = rows.num_decode_rows();
  // Where both roles are of one class a call for all reads the weights once; kernels want bits to descend.
  const bool is_one_call = num_prompt > 0 && num_decode > 0 && prompt_ == decode_ &&
                           rows.bits[num_prompt - 1] >= rows.bits[num_prompt];
  if (is_one_call) return Run(prompt_, x, y, rows.bits, step);
  Run(prompt_, x.Rows(0, num_prompt), y.Rows(0, num_prompt), rows.bits, step);
  Run(decode_, x.Rows(num_prompt, num_decode), y.Rows(num_prompt, num_decode),
      rows.bits + num_prompt, step);
}

void Linear::Run(const LinearKernels& kernels, Matrix<const float> x, Matrix<float> y,
                 const uint8_t* bits, StepContext& step) const {
  if (x.rows == 0) return;
  const auto call = [&](size_t size, int64_t num_rows) {
    kernels[size]({.dense = weight_->AsDense(),
                   .bcq = weight_->AsBcq(),
                   .int8 = weight_->AsInt8(),
                   .x = x.Rows(0, num_rows),
                   .y = y.Rows(0, num_rows),
                   .bits = bits,
                   .bias = bias_.empty() ? nullptr : bias_.data(),
                   .traffic = step.traffic},
                  step.stream);
  };
  const size_t size = kernels::CallSizeOf(x.rows);
  // What runs smaller calls may need more scratch memory than what runs this one: their largest.
  for (size_t smaller = 0; step.is_warm_up && smaller < size; ++smaller) {
    if (kernels[smaller] != kernels[smaller + 1])
      call(smaller, kernels::kCallSizes[smaller + 1].from - 1);
  }
  call(size, x.rows);
}

absl::StatusOr<FusedLinear> FusedLinear::Load(WeightLoader& loader, const std::string& prefix,
                                              std::span<const Part> parts, int64_t in_features,
                                              bool has_bias) {
  FusedLinear fused;
  for (const Part& part : parts) {
    BITDIAL_ASSIGN_OR_RETURN(Linear linear, Linear::Read(loader, prefix + part.name,
                                                         part.out_features, in_features, has_bias));
    fused.linears_.push_back(std::move(linear));
  }
  BITDIAL_ASSIGN_OR_RETURN(std::optional<Linear> whole, Linear::Fuse(fused.linears_));
  if (whole.has_value()) {
    fused.linears_.clear();
    fused.linears_.push_back(*std::move(whole));
  }
  for (Linear& linear : fused.linears_) BITDIAL_RETURN_IF_ERROR(linear.FindKernels(loader));
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
  lookup_({.dense = weight_->AsDense(),
           .bcq = weight_->AsBcq(),
           .token_ids = batch.token_ids(),
           .bits = batch.bits(),
           .out = out},
          step.stream);
}

}  // namespace bitdial::engine
