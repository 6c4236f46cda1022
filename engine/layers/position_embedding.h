// Learned positions: a dense table with a row for each position of a sequence.
#pragma once

#include <memory>
#include <string>

#include "engine/batch.h"
#include "engine/layers/step_context.h"
#include "engine/layers/weight_loader.h"

namespace bitdial::engine {

// out[t] += P[positions[t] + offset]
class PositionEmbedding {
 public:
  // Reads `prefix`, a dense table [max_positions + offset, hidden_size] whose first `offset` rows
  // are never used.
  // Errors  those of WeightLoader; DATA_LOSS a table stored as bit-planes.
  static absl::StatusOr<PositionEmbedding> Load(WeightLoader& loader, const std::string& prefix,
                                                int64_t max_positions, int64_t hidden_size,
                                                int64_t offset);

  // Shapes  out [batch.num_tokens(), hidden_size]; as much of step.workspace while it runs.
  void AddTo(Matrix<float> out, const Batch& batch, StepContext& step) const;

 private:
  std::shared_ptr<const Weight> table_;
  kernels::DenseWeight rows_;  // of table_, from that of position 0 on
  kernels::EmbeddingFn lookup_ = nullptr;
  kernels::AddFn add_ = nullptr;
};

}  // namespace bitdial::engine
