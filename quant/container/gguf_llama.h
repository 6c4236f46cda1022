// What llama.cpp did to a Hugging Face Llama when it wrote the GGUF file, undone: names, config,
// row order. Source: llama.cpp convert_hf_to_gguf.py (LlamaModel) and gguf-py (tensor_mapping.py,
// constants.py).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "kernels/core/status.h"
#include "quant/container/gguf_file.h"
#include "quant/container/json_reader.h"

namespace bitdial::quant {

// The part of the metadata that the names and rows of tensors depend on.
struct GgufLlamaShape {
  int64_t num_layers = 0;
  int64_t hidden_size = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
};

// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; nullopt for a name that is no
// tensor of a Llama, however many layers it has ("rope_freqs.weight" among them: it is part of the
// config).
std::optional<std::string> HfTensorName(std::string_view gguf_name);

// Errors  UNIMPLEMENTED another architecture, or a Llama variant that would compute something else
// (says which key);
//         DATA_LOSS a value missing, of the wrong type or out of range.
absl::StatusOr<GgufLlamaShape> ReadGgufLlamaShape(const GgufFile& gguf);

// config.json as Hugging Face would have written it. Errors as above; also from the tensors that
// say what the metadata does not (tied embeddings, biases, vocabulary size, rope_freqs.weight).
absl::StatusOr<Json> MakeHfConfig(const GgufFile& gguf, const GgufLlamaShape& shape);
// generation_config.json: bos_token_id and the list eos_token_id (end of text, end of turn).
absl::StatusOr<Json> MakeHfGenerationConfig(const GgufFile& gguf, int64_t vocab_size);

// The parameters of Hugging Face's "llama3" rope_scaling that give these factors
// (rope_freqs.weight, one per pair of a head: what its frequency is divided by). The file does not
// store the parameters, and scaling low_freq_factor, high_freq_factor and
// original_max_position_embeddings together changes nothing, so low_freq_factor is 1 here. nullopt
// no parameters reproduce the factors to 1e-5 relative.
std::optional<Json> FitLlama3RopeScaling(std::span<const float> factors, double rope_theta);

}  // namespace bitdial::quant
