// Shapes of well-known Llama models, for benches that need the sizes and not the weights.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/core/status.h"

namespace bitdial::quant {

struct LlamaShape {
  std::string name;
  int64_t num_layers;
  int64_t hidden_size;
  int64_t intermediate_size;
  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t vocab_size;
  int64_t max_positions;
};

// "llama-1.1b" (TinyLlama), "llama-8b" (Llama 3, with a vocabulary of 32,000), or either with its
// first layers only: "llama-8b:8". Errors  INVALID_ARGUMENT names the shapes there are.
absl::StatusOr<LlamaShape> ParseNamedShape(const std::string& text);

}  // namespace bitdial::quant
