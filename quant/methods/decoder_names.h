// The tensor names of a model family, as far as the quantizer has to know them.
#pragma once

#include <string>
#include <vector>

#include "quant/container/checkpoint.h"

namespace bitdial::quant {

struct DecoderNames {
  std::string decoder;               // "model": before ".layers.0." and ".embed_tokens.weight"
  std::vector<std::string> modules;  // linears of a layer that become planes: "self_attn.q_proj"
  bool is_tied = false;              // the head is the embedding, whatever the file holds besides

  std::string embedding() const { return decoder + ".embed_tokens.weight"; }
  std::string head() const { return "lm_head.weight"; }
  // "model.layers.0.mlp.up_proj.weight" is one.
  bool IsLinear(const std::string& name) const;
};

// By config.json's "architectures", the decoder by what the file holds.
// Errors  UNIMPLEMENTED an architecture that is not in the list (names it and the list); DATA_LOSS
// a key of the wrong type.
absl::StatusOr<DecoderNames> FindDecoderNames(const Checkpoint& source);

}  // namespace bitdial::quant
