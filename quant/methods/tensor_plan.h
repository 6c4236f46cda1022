// What becomes of every tensor of a checkpoint, decided before any weight is read.
#pragma once

#include <string>
#include <vector>

#include "quant/container/safetensors_writer.h"
#include "quant/methods/decoder_names.h"
#include "quant/methods/quantize_job.h"

namespace bitdial::quant {

struct TensorPlan {
  std::string name;            // in the source
  Shape shape;                 // [out_features, in_features], or any other for a copy
  DType dtype;                 // of a copy
  std::string why_dense = {};  // "" when quantized
  BitRange bits = {};          // when quantized
  // On a uniform grid, whatever the method: an embedding or head at one precision of 6 bits or more. It
  // loses next to nothing there, and such planes become bytes without a loss (kernels/formats/int8).
  bool is_uniform = false;
  int64_t group_size = 0;  // when quantized; 0 for a copy

  bool is_quantized() const { return group_size > 0; }
  // "model.layers.0.mlp.up_proj": the name without ".weight".
  std::string Prefix() const;
};

struct QuantizePlan {
  DecoderNames names;               // of the source
  std::vector<TensorPlan> tensors;  // by name
  std::vector<std::string> notes;
};

// Errors  as Quantize, for everything that follows from names, shapes and options.
absl::StatusOr<QuantizePlan> PlanTensors(const Checkpoint& source, const QuantizeOptions& options);

// The tensors of the output in the order they are written.
std::vector<TensorDeclaration> Declare(const std::vector<TensorPlan>& plans);

// True when `name` fits `pattern`; * stands for any text, ? for one character.
bool MatchesGlob(const std::string& pattern, const std::string& name);

}  // namespace bitdial::quant
