// config.json of a quantized folder.
#pragma once

#include "quant/methods/tensor_plan.h"

namespace bitdial::quant {

// The source's config with two keys more. "anybcq" is what the AnyBCQ release writes and every
// reader needs: {seed_precision, parent_precision, group_size, arch_config}; group_size is that of
// most weights, readers take each tensor's own from its alpha. "bitdial" says how the folder was
// made: {version, method, source, tensors}, where tensors lists those whose bits are not the
// model's ("8", "3-4", "dense").
Json MakeOutputConfig(const Checkpoint& source, const QuantizeOptions& options,
                      const QuantizePlan& plan);

}  // namespace bitdial::quant
