#include "engine/models/llama/llama.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "engine/layers/warm_up.h"

#include "quant/container/leftovers.h"

namespace bitdial::engine {
namespace {

// Tokens per KV block. The last block of a sequence is half empty on average: 16 tokens, 0.4 MB of
// SmolLM2-135M's f16 K/V. Twice as many wastes twice that; half as many doubles the table look-ups
// of attention.
constexpr int32_t kBlockTokens = 32;

// A request may ask for the bits that every linear with a choice offers; linears kept at one fixed
// set follow any.
std::vector<int> OfferedBits(const LlamaWeights& weights, const quant::QuantizationInfo* info) {
  const int min_bits = info == nullptr ? 1 : info->min_bits;
  const int max_bits = info == nullptr ? 8 : info->max_bits;
  std::vector<int> dialled, fixed;
  for (int bits = min_bits; bits <= max_bits; ++bits) {
    bool some_dial = false, all_dials_offer = true, some_fixed_offers = false;
    for (const LlamaLayer& layer : weights.layers) {
      for (const Linear* linear : layer.linears()) {
        const std::vector<kernels::BcqScales>& sets = linear->weight().bcq.scales;
        const bool offers = std::any_of(sets.begin(), sets.end(),
                                        [&](const auto& set) { return set.bits == bits; });
        if (sets.size() > 1) {
          some_dial = true;
          all_dials_offer &= offers;
        } else {
          some_fixed_offers |= offers;
        }
      }
    }
    if (some_dial && all_dials_offer) dialled.push_back(bits);
    if (!some_dial && some_fixed_offers) fixed.push_back(bits);
  }
  if (!dialled.empty()) return dialled;
  if (!fixed.empty()) return fixed;
  return {0};  // no planes in the decoder layers: a dense model
}

}  // namespace

absl::StatusOr<std::unique_ptr<DecoderModel>> LoadLlama(WeightLoader& loader,
                                                        const ModelOptions& options) {
  return LlamaModel::Load(loader, options);
}

absl::StatusOr<std::unique_ptr<DecoderModel>> LlamaModel::Load(WeightLoader& loader,
                                                               const ModelOptions& options) {
  const quant::Checkpoint& checkpoint = loader.checkpoint();
  std::unique_ptr<LlamaModel> model(new LlamaModel);
  auto config = ParseLlamaConfig(checkpoint.config(), checkpoint.generation_config(),
                                 checkpoint.path() + ": config");
  if (absl::IsInvalidArgument(config.status())) {  // the file's fault, not the caller's
    return absl::DataLossError(config.status().message());
  }
  BITDIAL_ASSIGN_OR_RETURN(model->config_, std::move(config));
  // What needs no weights comes first: reading them can take minutes.
  BITDIAL_RETURN_IF_ERROR(quant::RefuseLeftovers(checkpoint));
  if (options.max_context > model->config_.max_positions) {
    return InvalidArgument("max_context {} is over the model's max_position_embeddings, {}",
                           options.max_context, model->config_.max_positions);
  }
  BITDIAL_ASSIGN_OR_RETURN(model->weights_, LoadLlamaWeights(loader, model->config_));
  model->all_layers_.resize(model->weights_.layers.size());
  std::iota(model->all_layers_.begin(), model->all_layers_.end(), 0);
  model->warm_up_layers_ = LayersToWarmUp(model->weights_.layers);
  BITDIAL_RETURN_IF_ERROR(model->ResolveKernels(loader, options));
  BITDIAL_RETURN_IF_ERROR(model->FillInfo(loader, options));
  model->MakeRopeTables(model->info_.max_context);
  return model;
}

Matrix<float> LlamaModel::Forward(const Batch& batch, const kvcache::KvStore& kv,
                                  StepContext& step) const {
  Matrix<float> hidden = step.workspace.Take(batch.num_tokens(), config_.hidden_size);
  weights_.embedding.Forward(batch, hidden, step);
  for (int64_t i : step.is_warm_up ? warm_up_layers_ : all_layers_) {
    const LlamaLayer& layer = weights_.layers[static_cast<size_t>(i)];
    Attention(layer, hidden, batch, kv.Segment(i, batch.block_tables(), batch.max_blocks_per_seq()),
              step);
    Mlp(layer, hidden, batch, step);
  }
  return hidden;
}

void LlamaModel::Attention(const LlamaLayer& layer, Matrix<float> hidden, const Batch& batch,
                           const kernels::KvSegment& segment, StepContext& step) const {
  Workspace::Scope scope(step.workspace);
  const LlamaConfig& c = config_;
  const int64_t num_tokens = batch.num_tokens();
  const int64_t q_size = c.num_heads * c.head_dim, kv_size = c.num_kv_heads * c.head_dim;
  Matrix<float> x = step.workspace.Take(num_tokens, c.hidden_size);
  Matrix<float> q = step.workspace.Take(num_tokens, q_size);
  Matrix<float> k = step.workspace.Take(num_tokens, kv_size);
  Matrix<float> v = step.workspace.Take(num_tokens, kv_size);
  Matrix<float> mixed = step.workspace.Take(num_tokens, q_size);

  Norm(layer.attention_norm, hidden, x, step);
  layer.q.Forward(x, q, batch.rows(), step);
  layer.k.Forward(x, k, batch.rows(), step);
  layer.v.Forward(x, v, batch.rows(), step);
  Rotate(q, c.num_heads, batch, step);
  Rotate(k, c.num_kv_heads, batch, step);
  kernels_.kv_append({.k = k,
                      .v = v,
                      .seq_idx = batch.seq_idx(),
                      .positions = batch.positions(),
                      .segment = segment},
                     step.stream);
  kernels_.attention({.q = q,
                      .out = mixed,
                      .num_heads = c.num_heads,
                      .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim)),
                      .seq_idx = batch.seq_idx(),
                      .positions = batch.positions(),
                      .segment = segment},
                     step.stream);
  layer.o.Forward(mixed, x, batch.rows(), step);
  kernels_.add({.x = x, .out = hidden}, step.stream);
}

void LlamaModel::Mlp(const LlamaLayer& layer, Matrix<float> hidden, const Batch& batch,
                     StepContext& step) const {
  Workspace::Scope scope(step.workspace);
  const int64_t num_tokens = batch.num_tokens();
  Matrix<float> x = step.workspace.Take(num_tokens, config_.hidden_size);
  Matrix<float> gate = step.workspace.Take(num_tokens, config_.intermediate_size);
  Matrix<float> up = step.workspace.Take(num_tokens, config_.intermediate_size);

  Norm(layer.mlp_norm, hidden, x, step);
  layer.gate.Forward(x, gate, batch.rows(), step);
  layer.up.Forward(x, up, batch.rows(), step);
  kernels_.silu_mul({.gate = gate, .up = up, .out = gate}, step.stream);
  layer.down.Forward(gate, x, batch.rows(), step);
  kernels_.add({.x = x, .out = hidden}, step.stream);
}

Matrix<float> LlamaModel::Logits(Matrix<const float> hidden, std::span<const LogitsRow> wanted,
                                 const uint8_t* row_bits, kernels::Role role,
                                 StepContext& step) const {
  const auto num_rows = static_cast<int64_t>(wanted.size());
  Matrix<float> logits = step.workspace.Take(num_rows, config_.vocab_size);
  Workspace::Scope scope(step.workspace);
  Matrix<float> x = step.workspace.Take(num_rows, config_.hidden_size);
  for (int64_t i = 0; i < num_rows; ++i) {
    std::memcpy(x.Row(i), hidden.Row(wanted[static_cast<size_t>(i)].row),
                static_cast<size_t>(config_.hidden_size) * sizeof(float));
  }
  Norm(weights_.final_norm, x, x, step);
  const RowGroup rows{num_rows, role == kernels::Role::kPrompt ? num_rows : 0, row_bits};
  weights_.head.Forward(x, logits, rows, step);
  return logits;
}

void LlamaModel::Norm(const std::vector<float>& weight, Matrix<const float> x, Matrix<float> out,
                      StepContext& step) const {
  kernels_.rms_norm({.x = x, .out = out, .weight = weight.data(), .eps = config_.rms_norm_eps},
                    step.stream);
}

void LlamaModel::Rotate(Matrix<float> x, int64_t num_heads, const Batch& batch,
                        StepContext& step) const {
  kernels_.rope({.x = x,
                 .num_heads = num_heads,
                 .head_dim = config_.head_dim,
                 .cos = rope_cos_.data(),
                 .sin = rope_sin_.data(),
                 .positions = batch.positions()},
                step.stream);
}

int64_t LlamaModel::WorkspaceFloats(int64_t max_tokens, int64_t max_logits_rows) const {
  const LlamaConfig& c = config_;
  const auto matrix = [&](int64_t cols) { return Workspace::FloatsFor(max_tokens, cols); };
  const int64_t attention = matrix(c.hidden_size) + 2 * matrix(c.num_heads * c.head_dim) +
                            2 * matrix(c.num_kv_heads * c.head_dim);
  const int64_t mlp = matrix(c.hidden_size) + 2 * matrix(c.intermediate_size);
  const int64_t logits = Workspace::FloatsFor(max_logits_rows, c.vocab_size) +
                         Workspace::FloatsFor(max_logits_rows, c.hidden_size);
  return matrix(c.hidden_size) + std::max({attention, mlp, logits});
}

absl::Status LlamaModel::ResolveKernels(WeightLoader& loader, const ModelOptions& options) {
  using kernels::Op;
  kernels::KernelShape shape;
  shape.in_features = config_.hidden_size;
  shape.num_heads = config_.num_heads;
  shape.num_kv_heads = config_.num_kv_heads;
  shape.head_dim = config_.head_dim;
  const auto find = [&](auto& fn, Op op, kernels::KvFormat kv_format) -> absl::Status {
    BITDIAL_ASSIGN_OR_RETURN(fn, loader.FindKernel<std::decay_t<decltype(fn)>>(
                                     {.op = op, .kv_format = kv_format}, shape, kernels::Name(op)));
    return absl::OkStatus();
  };
  BITDIAL_RETURN_IF_ERROR(find(kernels_.rms_norm, Op::kRmsNorm, kernels::KvFormat::kNone));
  BITDIAL_RETURN_IF_ERROR(find(kernels_.rope, Op::kRope, kernels::KvFormat::kNone));
  BITDIAL_RETURN_IF_ERROR(find(kernels_.kv_append, Op::kKvAppend, options.kv_format));
  BITDIAL_RETURN_IF_ERROR(find(kernels_.attention, Op::kAttention, options.kv_format));
  BITDIAL_RETURN_IF_ERROR(find(kernels_.silu_mul, Op::kSiluMul, kernels::KvFormat::kNone));
  return find(kernels_.add, Op::kAdd, kernels::KvFormat::kNone);
}

absl::Status LlamaModel::FillInfo(const WeightLoader& loader, const ModelOptions& options) {
  constexpr int64_t kDefaultMaxContext = 8192;  // what fits most machines; more is one flag away
  kv_shape_ = {.num_layers = config_.num_layers,
               .num_kv_heads = config_.num_kv_heads,
               .head_dim = config_.head_dim,
               .format = options.kv_format,
               .block_tokens = kBlockTokens};
  info_.architecture = "LlamaForCausalLM";
  info_.vocab_size = config_.vocab_size;
  info_.max_context = options.max_context > 0 ? options.max_context
                                              : std::min(config_.max_positions, kDefaultMaxContext);
  info_.num_layers = config_.num_layers;
  info_.hidden_size = config_.hidden_size;
  info_.num_parameters = loader.totals().num_parameters;
  info_.bits = OfferedBits(weights_, loader.checkpoint().quantization());
  info_.default_bits = info_.bits.back();
  info_.eos_ids = config_.eos_ids;
  for (int32_t id : options.extra_eos_ids) {
    const bool is_known =
        std::find(info_.eos_ids.begin(), info_.eos_ids.end(), id) != info_.eos_ids.end();
    if (!is_known && id >= 0 && id < config_.vocab_size) info_.eos_ids.push_back(id);
  }
  info_.weight_bytes = loader.totals().weight_bytes;
  info_.kv_bytes_per_token = kv_shape_.BytesPerToken();
  info_.backend = kernels::Name(loader.table().backend());
  info_.kernels.assign(loader.totals().kernel_names.begin(), loader.totals().kernel_names.end());
  return absl::OkStatus();
}

void LlamaModel::MakeRopeTables(int64_t max_context) {
  const std::vector<double> frequencies = RopeInverseFrequencies(config_.rope, config_.head_dim);
  rope_cos_.reserve(static_cast<size_t>(max_context) * frequencies.size());
  rope_sin_.reserve(static_cast<size_t>(max_context) * frequencies.size());
  for (int64_t position = 0; position < max_context; ++position) {
    for (double frequency : frequencies) {
      const double angle = static_cast<double>(position) * frequency;
      rope_cos_.push_back(static_cast<float>(std::cos(angle)));
      rope_sin_.push_back(static_cast<float>(std::sin(angle)));
    }
  }
}

}  // namespace bitdial::engine
