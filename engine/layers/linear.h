// A linear, an embedding: a weight and the kernel rows that run it.
#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/batch.h"
#include "engine/layers/step_context.h"
#include "engine/layers/weight_loader.h"

namespace bitdial::engine {

// y = x W^T (+ bias). Prompt rows and decode rows may use different numeric classes; the role
// decides, never the row count. That chooses among kernels of one class, which all compute the same.
class Linear {
 public:
  // Reads `prefix` [out_features, in_features], and "<prefix>.bias" when has_bias.
  static absl::StatusOr<Linear> Load(WeightLoader& loader, const std::string& prefix,
                                     int64_t out_features, int64_t in_features, bool has_bias);
  // The head, from hidden states to the vocabulary: `embedding`'s weight where that is tied, else
  // "lm_head" [out_features, in_features].
  static absl::StatusOr<Linear> LoadHead(WeightLoader& loader, std::shared_ptr<const Weight> embedding,
                                         bool is_tied, int64_t out_features, int64_t in_features);

  // Shapes  x [rows.num_rows, in_features], y [rows.num_rows, out_features]
  void Forward(Matrix<const float> x, Matrix<float> y, const RowGroup& rows,
               StepContext& step) const;

  const Weight& weight() const { return *weight_; }

 private:
  friend class FusedLinear;

  // Load without the kernels: a part that is going to be fused runs none.
  static absl::StatusOr<Linear> Read(WeightLoader& loader, const std::string& prefix,
                                     int64_t out_features, int64_t in_features, bool has_bias);
  // The linears one after the other as one, without kernels; nullopt where their weights do not
  // allow it.
  static absl::StatusOr<std::optional<Linear>> Fuse(std::span<const Linear> linears);
  absl::Status FindKernels(WeightLoader& loader);
  void Run(const LinearKernels& kernels, Matrix<const float> x, Matrix<float> y,
           const uint8_t* bits, StepContext& step) const;

  std::shared_ptr<const Weight> weight_;
  std::vector<float> bias_;  // [out_features] or empty
  LinearKernels prompt_{};
  LinearKernels decode_{};
};

// Linears of the same input whose outputs lie side by side: q|k|v, gate|up. One kernel call where
// their weights have one form (kernels/formats/bcq/concatenate.h), else one each; the same values
// either way.
class FusedLinear {
 public:
  struct Part {
    const char* name;  // behind the prefix: "self_attn.q_proj"
    int64_t out_features;
  };
  static absl::StatusOr<FusedLinear> Load(WeightLoader& loader, const std::string& prefix,
                                          std::span<const Part> parts, int64_t in_features,
                                          bool has_bias);

  // Shapes  x [rows.num_rows, in_features], y [rows.num_rows, sum of out_features]
  void Forward(Matrix<const float> x, Matrix<float> y, const RowGroup& rows,
               StepContext& step) const;

  const std::vector<Linear>& linears() const { return linears_; }

 private:
  std::vector<Linear> linears_;  // one when fused
};

// Every linear of a layer, each once.
std::vector<const Linear*> AllLinears(std::initializer_list<const FusedLinear*> fused,
                                      std::initializer_list<const Linear*> single);

// out[t] = W[token_ids[t]]
class Embedding {
 public:
  static absl::StatusOr<Embedding> Load(WeightLoader& loader, const std::string& prefix,
                                        int64_t vocab_size, int64_t hidden_size);

  // Shapes  out [batch.num_tokens(), hidden_size]
  void Forward(const Batch& batch, Matrix<float> out, StepContext& step) const;

  std::shared_ptr<const Weight> weight() const { return weight_; }

 private:
  std::shared_ptr<const Weight> weight_;
  kernels::EmbeddingFn lookup_ = nullptr;
};

}  // namespace bitdial::engine
