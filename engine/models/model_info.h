// From a loaded family to ModelInfo and KvShape, the same way for all.
#pragma once

#include <vector>

#include "engine/layers/linear.h"
#include "engine/models/decoder_model.h"

namespace bitdial::engine {

// What a family's config says under names of its own.
struct DecoderShape {
  const char* architecture = "";  // config.json "architectures"[0]
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_positions = 0;
  std::vector<int32_t> eos_ids;
};

// Needs no weights, so a family asks before it reads them: that can take minutes.
// Errors  INVALID_ARGUMENT options.max_context is over max_positions.
absl::Status CheckMaxContext(const ModelOptions& options, int64_t max_positions);

kvcache::KvShape MakeKvShape(const DecoderShape& shape, kernels::KvFormat format);

// layer_linears: those of every decoder layer, whose planes decide which bits a request may ask
// for. `loader` has read everything and found every kernel row; options passed CheckMaxContext.
ModelInfo MakeModelInfo(const DecoderShape& shape, const std::vector<const Linear*>& layer_linears,
                        const WeightLoader& loader, const ModelOptions& options);

}  // namespace bitdial::engine
