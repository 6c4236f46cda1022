#include "engine/layers/position_embedding.h"

namespace bitdial::engine {

using kernels::KernelKey;
using kernels::Op;
using kernels::WeightFormat;

absl::StatusOr<PositionEmbedding> PositionEmbedding::Load(WeightLoader& loader,
                                                          const std::string& prefix,
                                                          int64_t max_positions,
                                                          int64_t hidden_size, int64_t offset) {
  auto table = loader.ReadWeight(prefix, max_positions + offset, hidden_size, WeightUse::kLookups);
  if (!table.ok()) {
    return Annotate(table.status(), fmt::format("{} positions need {} rows in {}", max_positions,
                                                max_positions + offset, prefix));
  }
  PositionEmbedding embedding;
  embedding.table_ = *std::move(table);
  if (embedding.table_->format != WeightFormat::kDense) {
    return DataLoss("{}: \"{}\" is stored as bit-planes; positions are read dense",
                    loader.checkpoint().path(), prefix);
  }
  TensorView rows = embedding.table_->dense.w;
  if (rows.data != nullptr)  // else the loader only checks
    rows.data += static_cast<size_t>(offset * hidden_size) * SizeOf(rows.dtype);
  rows.shape = {max_positions, hidden_size};
  embedding.rows_.w = rows;
  const KernelKey key{.op = Op::kEmbedding, .weight_format = WeightFormat::kDense};
  BITDIAL_ASSIGN_OR_RETURN(embedding.lookup_, loader.FindKernel<kernels::EmbeddingFn>(
                                                  key, embedding.table_->shape(), prefix));
  BITDIAL_ASSIGN_OR_RETURN(embedding.add_,
                           loader.FindKernel<kernels::AddFn>({.op = Op::kAdd}, {}, prefix));
  return embedding;
}

void PositionEmbedding::AddTo(Matrix<float> out, const Batch& batch, StepContext& step) const {
  Workspace::Scope scope(step.workspace);
  Matrix<float> positions = step.workspace.Take(batch.num_tokens(), out.cols);
  lookup_({.dense = &rows_, .token_ids = batch.positions(), .bits = batch.bits(), .out = positions},
          step.stream);
  add_({.x = positions, .out = out}, step.stream);
}

}  // namespace bitdial::engine
