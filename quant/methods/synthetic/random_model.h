// A quantized Llama of a given shape with random codes, made without ever having weights: what a
// bench of speed needs of a model too large to quantize on the way.
#pragma once

#include <string>

#include "kernels/core/status.h"
#include "quant/methods/quantize_job.h"
#include "quant/methods/synthetic/named_shape.h"

namespace bitdial::quant {

// Writes options.output as Quantize would for a model of this shape: the same names, layout, bits of
// embedding and head, and a tokenizer of the 256 bytes. Codes are random, scales such that
// activations stay near 1, betas small and not zero, so that no kernel can leave them out. The same
// shape and options give the same bytes.
// Errors  those of Quantize that concern options and the disk.
absl::Status WriteRandomModel(const LlamaShape& shape, const QuantizeOptions& options);

}  // namespace bitdial::quant
