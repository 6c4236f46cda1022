#include "engine/models/model_info.h"

#include <algorithm>

namespace bitdial::engine {
namespace {

// Tokens per KV block. The last block of a sequence is half empty on average: 16 tokens, 0.4 MB of
// SmolLM2-135M's f16 K/V. Twice as many wastes twice that; half as many doubles the table look-ups
// of attention.
constexpr int32_t kBlockTokens = 32;

// The bits that a request may ask for: those that every linear with a choice has a set for. Where
// no bits are common to all, those that some have: a linear without a set takes its nearest
// (BcqWeight::ScalesFor), as linears kept at one fixed set always do.
std::vector<int> OfferedBits(const std::vector<const Linear*>& linears) {
  std::vector<int> common, some, fixed;
  for (int bits = 1; bits <= 8; ++bits) {
    int num_dialled = 0, num_offering = 0;
    bool is_fixed_set = false;
    for (const Linear* linear : linears) {
      const std::vector<kernels::BcqScales>& sets = linear->weight().bcq.scales;
      const bool offers =
          std::any_of(sets.begin(), sets.end(), [&](const auto& set) { return set.bits == bits; });
      if (sets.size() > 1) {
        ++num_dialled;
        num_offering += offers ? 1 : 0;
      } else {
        is_fixed_set |= offers;
      }
    }
    if (num_offering > 0) some.push_back(bits);
    if (num_offering > 0 && num_offering == num_dialled) common.push_back(bits);
    if (is_fixed_set) fixed.push_back(bits);
  }
  for (const std::vector<int>* offered : {&common, &some, &fixed}) {
    if (!offered->empty()) return *offered;
  }
  return {0};  // no planes in the decoder layers: a dense model
}

}  // namespace

absl::Status CheckMaxContext(const ModelOptions& options, int64_t max_positions) {
  if (options.max_context <= max_positions) return absl::OkStatus();
  return InvalidArgument("max_context {} is over the model's max_position_embeddings, {}",
                         options.max_context, max_positions);
}

kvcache::KvShape MakeKvShape(const DecoderShape& shape, kernels::KvFormat format) {
  return {.num_layers = shape.num_layers,
          .num_kv_heads = shape.num_kv_heads,
          .head_dim = shape.head_dim,
          .format = format,
          .block_tokens = kBlockTokens};
}

ModelInfo MakeModelInfo(const DecoderShape& shape, const std::vector<const Linear*>& layer_linears,
                        const WeightLoader& loader, const ModelOptions& options) {
  constexpr int64_t kDefaultMaxContext = 8192;  // what fits most machines; more is one flag away
  ModelInfo info;
  info.architecture = shape.architecture;
  info.vocab_size = shape.vocab_size;
  info.max_context = options.max_context > 0 ? options.max_context
                                             : std::min(shape.max_positions, kDefaultMaxContext);
  info.num_layers = shape.num_layers;
  info.hidden_size = shape.hidden_size;
  info.num_parameters = loader.totals().num_parameters;
  info.bits = OfferedBits(layer_linears);
  info.default_bits = info.bits.back();
  info.eos_ids = shape.eos_ids;
  for (int32_t id : options.extra_eos_ids) {
    const bool is_known =
        std::find(info.eos_ids.begin(), info.eos_ids.end(), id) != info.eos_ids.end();
    if (!is_known && id >= 0 && id < shape.vocab_size) info.eos_ids.push_back(id);
  }
  info.weight_bytes = loader.totals().weight_bytes;
  info.kv_bytes_per_token = MakeKvShape(shape, options.kv_format).BytesPerToken();
  info.backend = kernels::Name(loader.table().backend());
  info.numerics = kernels::Name(loader.table().numerics());
  info.kernels.assign(loader.totals().kernel_names.begin(), loader.totals().kernel_names.end());
  return info;
}

}  // namespace bitdial::engine
