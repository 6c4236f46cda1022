#include "engine/models/opt/opt.h"

#include <algorithm>
#include <cmath>

#include "engine/layers/gather_rows.h"
#include "engine/models/config_keys.h"
#include "engine/models/model_info.h"
#include "quant/container/leftovers.h"

namespace bitdial::engine {
namespace {

constexpr float kNormEps = 1e-5f;  // transformers' LayerNorm; no key of config.json changes it

// Of a checkpoint that holds no tensor that the config does not describe.
absl::StatusOr<OptConfig> ReadConfig(const quant::Checkpoint& checkpoint) {
  BITDIAL_ASSIGN_OR_RETURN(
      OptConfig config,
      AsFileError(ParseOptConfig(checkpoint.config(), checkpoint.generation_config(),
                                 checkpoint.path() + ": config")));
  BITDIAL_RETURN_IF_ERROR(quant::RefuseLeftovers(checkpoint));
  return config;
}

}  // namespace

absl::Status CheckOpt(const quant::Checkpoint& checkpoint) {
  BITDIAL_ASSIGN_OR_RETURN(const OptConfig config, ReadConfig(checkpoint));
  WeightLoader checker(checkpoint);
  return LoadOptWeights(checker, config).status();
}

absl::StatusOr<std::unique_ptr<DecoderModel>> LoadOpt(WeightLoader& loader,
                                                      const ModelOptions& options) {
  return OptModel::Load(loader, options);
}

absl::StatusOr<std::unique_ptr<DecoderModel>> OptModel::Load(WeightLoader& loader,
                                                             const ModelOptions& options) {
  std::unique_ptr<OptModel> model(new OptModel);
  BITDIAL_ASSIGN_OR_RETURN(model->config_, ReadConfig(loader.checkpoint()));
  BITDIAL_RETURN_IF_ERROR(CheckMaxContext(options, model->config_.max_positions));
  BITDIAL_ASSIGN_OR_RETURN(model->weights_, LoadOptWeights(loader, model->config_));
  model->layers_to_run_ = LayersToRun(model->weights_.layers);
  BITDIAL_RETURN_IF_ERROR(model->ResolveKernels(loader, options));
  model->FillInfo(loader, options);
  return model;
}

Matrix<float> OptModel::Forward(const Batch& batch, const kvcache::KvStore& kv,
                                StepContext& step) const {
  Matrix<float> hidden = step.workspace.Take(batch.num_tokens(), config_.hidden_size);
  Embed(hidden, batch, step);
  for (int64_t i : layers_to_run_.For(step)) {
    const OptLayer& layer = weights_.layers[static_cast<size_t>(i)];
    Attention(layer, hidden, batch, kv.Segment(i, batch.block_tables(), batch.max_blocks_per_seq()),
              step);
    Mlp(layer, hidden, batch, step);
  }
  return hidden;
}

void OptModel::Embed(Matrix<float> hidden, const Batch& batch, StepContext& step) const {
  Workspace::Scope scope(step.workspace);
  if (weights_.project_in.has_value()) {
    Matrix<float> narrow = step.workspace.Take(batch.num_tokens(), config_.embed_size);
    weights_.embedding.Forward(batch, narrow, step);
    weights_.project_in->Forward(narrow, hidden, batch.rows(), step);
  } else {
    weights_.embedding.Forward(batch, hidden, step);
  }
  weights_.positions.AddTo(hidden, batch, step);
}

void OptModel::Attention(const OptLayer& layer, Matrix<float> hidden, const Batch& batch,
                         const kernels::KvSegment& segment, StepContext& step) const {
  Workspace::Scope scope(step.workspace);
  const int64_t num_tokens = batch.num_tokens(), size = config_.hidden_size;
  Matrix<float> x = step.workspace.Take(num_tokens, size);
  Matrix<float> qkv = step.workspace.Take(num_tokens, 3 * size);
  Matrix<float> q = qkv.Cols(0, size), k = qkv.Cols(size, size), v = qkv.Cols(2 * size, size);
  Matrix<float> mixed = step.workspace.Take(num_tokens, size);

  if (config_.norm_before) Norm(layer.attention_norm, hidden, x, step);
  const Matrix<const float> in = config_.norm_before ? x : hidden;
  layer.qkv.Forward(in, qkv, batch.rows(), step);
  kernels_.kv_append({.k = k,
                      .v = v,
                      .seq_idx = batch.seq_idx(),
                      .positions = batch.positions(),
                      .segment = segment},
                     step.stream);
  kernels_.attention({.q = q,
                      .out = mixed,
                      .num_heads = config_.num_heads,
                      .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim)),
                      .seq_idx = batch.seq_idx(),
                      .positions = batch.positions(),
                      .segment = segment},
                     step.stream);
  layer.out.Forward(mixed, x, batch.rows(), step);
  kernels_.add({.x = x, .out = hidden}, step.stream);
  if (!config_.norm_before) Norm(layer.attention_norm, hidden, hidden, step);
}

void OptModel::Mlp(const OptLayer& layer, Matrix<float> hidden, const Batch& batch,
                   StepContext& step) const {
  Workspace::Scope scope(step.workspace);
  const int64_t num_tokens = batch.num_tokens();
  Matrix<float> x = step.workspace.Take(num_tokens, config_.hidden_size);
  Matrix<float> wide = step.workspace.Take(num_tokens, config_.ffn_size);

  if (config_.norm_before) Norm(layer.mlp_norm, hidden, x, step);
  layer.fc1.Forward(config_.norm_before ? x : hidden, wide, batch.rows(), step);
  Activate(wide, step);
  layer.fc2.Forward(wide, x, batch.rows(), step);
  kernels_.add({.x = x, .out = hidden}, step.stream);
  if (!config_.norm_before) Norm(layer.mlp_norm, hidden, hidden, step);
}

Matrix<float> OptModel::Logits(Matrix<const float> hidden, std::span<const LogitsRow> wanted,
                               const uint8_t* row_bits, kernels::Role role,
                               StepContext& step) const {
  const auto num_rows = static_cast<int64_t>(wanted.size());
  Matrix<float> logits = step.workspace.Take(num_rows, config_.vocab_size);
  Workspace::Scope scope(step.workspace);
  Matrix<float> x = step.workspace.Take(num_rows, config_.hidden_size);
  GatherRows(hidden, wanted, x);
  if (weights_.final_norm.has_value()) Norm(*weights_.final_norm, x, x, step);
  const RowGroup rows{num_rows, role == kernels::Role::kPrompt ? num_rows : 0, row_bits};
  if (weights_.project_out.has_value()) {
    Matrix<float> narrow = step.workspace.Take(num_rows, config_.embed_size);
    weights_.project_out->Forward(x, narrow, rows, step);
    x = narrow;
  }
  weights_.head.Forward(x, logits, rows, step);
  return logits;
}

void OptModel::Norm(const OptNorm& norm, Matrix<const float> x, Matrix<float> out,
                    StepContext& step) const {
  kernels_.layer_norm(
      {.x = x, .out = out, .weight = norm.weight.data(), .bias = norm.bias.data(), .eps = kNormEps},
      step.stream);
}

void OptModel::Activate(Matrix<float> x, StepContext& step) const {
  if (config_.activation == OptActivation::kRelu) {
    kernels_.relu({.x = x, .out = x}, step.stream);
  } else {
    kernels_.gelu({.x = x, .out = x}, step.stream);
  }
}

int64_t OptModel::WorkspaceFloats(int64_t max_tokens, int64_t max_logits_rows) const {
  const OptConfig& c = config_;
  const auto matrix = [&](int64_t cols) { return Workspace::FloatsFor(max_tokens, cols); };
  const auto logits_matrix = [&](int64_t cols) {
    return Workspace::FloatsFor(max_logits_rows, cols);
  };
  const int64_t embed = matrix(c.embed_size) + matrix(c.hidden_size);
  const int64_t attention = 2 * matrix(c.hidden_size) + matrix(3 * c.hidden_size);
  const int64_t mlp = matrix(c.hidden_size) + matrix(c.ffn_size);
  const int64_t logits =
      logits_matrix(c.vocab_size) + logits_matrix(c.hidden_size) + logits_matrix(c.embed_size);
  return matrix(c.hidden_size) + std::max({embed, attention, mlp, logits});
}

absl::Status OptModel::ResolveKernels(WeightLoader& loader, const ModelOptions& options) {
  using kernels::KvFormat;
  using kernels::Op;
  kernels::KernelShape shape;
  shape.in_features = config_.hidden_size;
  shape.num_heads = config_.num_heads;
  shape.num_kv_heads = config_.num_heads;
  shape.head_dim = config_.head_dim;
  const auto find = [&](auto& fn, Op op, KvFormat kv_format) -> absl::Status {
    BITDIAL_ASSIGN_OR_RETURN(fn, loader.FindKernel<std::decay_t<decltype(fn)>>(
                                     {.op = op, .kv_format = kv_format}, shape, kernels::Name(op)));
    return absl::OkStatus();
  };
  BITDIAL_RETURN_IF_ERROR(find(kernels_.layer_norm, Op::kLayerNorm, KvFormat::kNone));
  BITDIAL_RETURN_IF_ERROR(find(kernels_.kv_append, Op::kKvAppend, options.kv_format));
  BITDIAL_RETURN_IF_ERROR(find(kernels_.attention, Op::kAttention, options.kv_format));
  BITDIAL_RETURN_IF_ERROR(config_.activation == OptActivation::kRelu
                              ? find(kernels_.relu, Op::kRelu, KvFormat::kNone)
                              : find(kernels_.gelu, Op::kGelu, KvFormat::kNone));
  return find(kernels_.add, Op::kAdd, KvFormat::kNone);
}

void OptModel::FillInfo(const WeightLoader& loader, const ModelOptions& options) {
  const DecoderShape shape = {.architecture = "OPTForCausalLM",
                              .vocab_size = config_.vocab_size,
                              .hidden_size = config_.hidden_size,
                              .num_layers = config_.num_layers,
                              .num_kv_heads = config_.num_heads,
                              .head_dim = config_.head_dim,
                              .max_positions = config_.max_positions,
                              .eos_ids = config_.eos_ids};
  std::vector<const Linear*> linears;
  for (const OptLayer& layer : weights_.layers) {
    for (const Linear* linear : layer.linears()) linears.push_back(linear);
  }
  kv_shape_ = MakeKvShape(shape, options.kv_format);
  info_ = MakeModelInfo(shape, linears, loader, options);
}

}  // namespace bitdial::engine
