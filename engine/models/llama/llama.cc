#include "engine/models/llama/llama.h"

#include <algorithm>
#include <cmath>

#include "engine/layers/gather_rows.h"
#include "engine/models/config_keys.h"
#include "engine/models/model_info.h"
#include "quant/container/leftovers.h"

namespace bitdial::engine {
namespace {

// Of a checkpoint that holds no tensor that the config does not describe.
absl::StatusOr<LlamaConfig> ReadConfig(const quant::Checkpoint& checkpoint) {
  BITDIAL_ASSIGN_OR_RETURN(
      LlamaConfig config,
      AsFileError(ParseLlamaConfig(checkpoint.config(), checkpoint.generation_config(),
                                   checkpoint.path() + ": config")));
  BITDIAL_RETURN_IF_ERROR(quant::RefuseLeftovers(checkpoint));
  return config;
}

}  // namespace

absl::Status CheckLlama(const quant::Checkpoint& checkpoint) {
  BITDIAL_ASSIGN_OR_RETURN(const LlamaConfig config, ReadConfig(checkpoint));
  WeightLoader checker(checkpoint);
  return LoadLlamaWeights(checker, config).status();
}

absl::StatusOr<std::unique_ptr<DecoderModel>> LoadLlama(WeightLoader& loader,
                                                        const ModelOptions& options) {
  return LlamaModel::Load(loader, options);
}

absl::StatusOr<std::unique_ptr<DecoderModel>> LlamaModel::Load(WeightLoader& loader,
                                                               const ModelOptions& options) {
  std::unique_ptr<LlamaModel> model(new LlamaModel);
  // What needs no weights comes first: reading them can take minutes.
  BITDIAL_ASSIGN_OR_RETURN(model->config_, ReadConfig(loader.checkpoint()));
  BITDIAL_RETURN_IF_ERROR(CheckMaxContext(options, model->config_.max_positions));
  BITDIAL_ASSIGN_OR_RETURN(model->weights_, LoadLlamaWeights(loader, model->config_));
  model->layers_to_run_ = LayersToRun(model->weights_.layers);
  BITDIAL_RETURN_IF_ERROR(model->ResolveKernels(loader, options));
  model->FillInfo(loader, options);
  model->MakeRopeTables(model->info_.max_context);
  return model;
}

Matrix<float> LlamaModel::Forward(const Batch& batch, const kvcache::KvStore& kv,
                                  StepContext& step) const {
  Matrix<float> hidden = step.workspace.Take(batch.num_tokens(), config_.hidden_size);
  weights_.embedding.Forward(batch, hidden, step);
  for (int64_t i : layers_to_run_.For(step)) {
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
  Matrix<float> qkv = step.workspace.Take(num_tokens, q_size + 2 * kv_size);
  Matrix<float> q = qkv.Cols(0, q_size);
  Matrix<float> k = qkv.Cols(q_size, kv_size);
  Matrix<float> v = qkv.Cols(q_size + kv_size, kv_size);
  Matrix<float> mixed = step.workspace.Take(num_tokens, q_size);

  Norm(layer.attention_norm, hidden, x, step);
  layer.qkv.Forward(x, qkv, batch.rows(), step);
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
  Matrix<float> gate_up = step.workspace.Take(num_tokens, 2 * config_.intermediate_size);
  Matrix<float> gate = gate_up.Cols(0, config_.intermediate_size);
  Matrix<float> up = gate_up.Cols(config_.intermediate_size, config_.intermediate_size);

  Norm(layer.mlp_norm, hidden, x, step);
  layer.gate_up.Forward(x, gate_up, batch.rows(), step);
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
  GatherRows(hidden, wanted, x);
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
  const int64_t q_size = c.num_heads * c.head_dim, kv_size = c.num_kv_heads * c.head_dim;
  const int64_t attention = matrix(c.hidden_size) + matrix(q_size + 2 * kv_size) + matrix(q_size);
  const int64_t mlp = matrix(c.hidden_size) + matrix(2 * c.intermediate_size);
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

void LlamaModel::FillInfo(const WeightLoader& loader, const ModelOptions& options) {
  const DecoderShape shape = {.architecture = "LlamaForCausalLM",
                              .vocab_size = config_.vocab_size,
                              .hidden_size = config_.hidden_size,
                              .num_layers = config_.num_layers,
                              .num_kv_heads = config_.num_kv_heads,
                              .head_dim = config_.head_dim,
                              .max_positions = config_.max_positions,
                              .eos_ids = config_.eos_ids};
  std::vector<const Linear*> linears;
  for (const LlamaLayer& layer : weights_.layers) {
    for (const Linear* linear : layer.linears()) linears.push_back(linear);
  }
  kv_shape_ = MakeKvShape(shape, options.kv_format);
  info_ = MakeModelInfo(shape, linears, loader, options);
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
