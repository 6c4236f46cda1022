// What the step loop needs of a model family. A family is a folder here and a line in registry.cc.
#pragma once

#include <memory>
#include <span>

#include "engine/batch.h"
#include "engine/engine.h"
#include "engine/layers/step_context.h"
#include "engine/layers/weight_loader.h"
#include "kvcache/kv_store.h"

namespace bitdial::engine {

// Weights and the pass over them. Thread: const after load; Forward by one thread at a time.
class DecoderModel {
 public:
  virtual ~DecoderModel() = default;

  virtual const ModelInfo& info() const = 0;
  virtual const kvcache::KvShape& kv_shape() const = 0;

  // Floats of Workspace that one step of max_tokens rows needs, with logits of max_logits_rows rows
  // at a time.
  virtual int64_t WorkspaceFloats(int64_t max_tokens, int64_t max_logits_rows) const = 0;

  // Runs every row through the layers and appends their K/V. Allocates nothing after warm-up.
  // Returns  the rows' hidden states before the final norm [num_tokens, hidden_size], in
  // step.workspace.
  virtual Matrix<float> Forward(const Batch& batch, const kvcache::KvStore& kv,
                                StepContext& step) const = 0;

  // Logits of chosen rows of `hidden`, all of one role, their bits descending.
  // Shapes   hidden [num_tokens, hidden_size]; row_bits [wanted.size()]
  // Returns  [wanted.size(), vocab_size], in step.workspace.
  virtual Matrix<float> Logits(Matrix<const float> hidden, std::span<const LogitsRow> wanted,
                               const uint8_t* row_bits, kernels::Role role,
                               StepContext& step) const = 0;
};

struct ModelOptions {
  kernels::KvFormat kv_format = kernels::KvFormat::kF16;
  int64_t max_context = 0;  // as EngineOptions
  std::vector<int32_t> extra_eos_ids = {};  // as EngineOptions
};

// Reads config.json, finds the family and loads it.
// Errors  UNIMPLEMENTED an architecture that is not in the list (names it and the list), and those
// of Engine::Create.
absl::StatusOr<std::unique_ptr<DecoderModel>> LoadModel(WeightLoader& loader,
                                                        const ModelOptions& options);

// Engine::Check.
absl::Status CheckModel(const quant::Checkpoint& checkpoint);

}  // namespace bitdial::engine
