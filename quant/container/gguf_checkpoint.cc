#include "quant/container/gguf_checkpoint.h"

#include <cstring>
#include <optional>

#include "quant/container/gguf_llama.h"

namespace bitdial::quant {
namespace {

// The types that need no decoding.
std::optional<DType> PlainDType(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return DType::kF32;
    case GgmlType::kF16:
      return DType::kF16;
    case GgmlType::kBF16:
      return DType::kBF16;
    default:
      return std::nullopt;
  }
}

bool EndsWith(const std::string& text, const std::string& ending) {
  return text.size() >= ending.size() &&
         text.compare(text.size() - ending.size(), ending.size(), ending) == 0;
}

// llama.cpp rotates neighbours (2 j, 2 j + 1), Hugging Face halves (j, j + head_dim / 2), so the
// converter reorders the rows of q and k. Returns the row of the GGUF tensor that is row `row` of
// the Hugging Face one.
int64_t GgufRow(int64_t row, int64_t head_dim) {
  const int64_t within = row % head_dim;
  const int64_t half = head_dim / 2;
  return row - within + (within < half ? 2 * within : 2 * (within - half) + 1);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> GgufCheckpoint::Open(const std::string& path) {
  BITDIAL_ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> gguf, GgufFile::Open(path));
  return FromFile(std::move(gguf));
}

absl::StatusOr<std::unique_ptr<Checkpoint>> GgufCheckpoint::FromFile(
    std::unique_ptr<GgufFile> gguf) {
  auto checkpoint = std::make_unique<GgufCheckpoint>();
  checkpoint->path_ = gguf->path();
  checkpoint->gguf_ = std::move(gguf);
  const GgufFile& file = *checkpoint->gguf_;
  BITDIAL_ASSIGN_OR_RETURN(const GgufLlamaShape shape, ReadGgufLlamaShape(file));
  BITDIAL_RETURN_IF_ERROR(
      checkpoint->PlaceTensors(shape.num_heads, shape.num_kv_heads, shape.head_dim));
  BITDIAL_ASSIGN_OR_RETURN(checkpoint->config_, MakeHfConfig(file, shape));
  const int64_t vocab_size = checkpoint->config_["vocab_size"].get<int64_t>();
  BITDIAL_ASSIGN_OR_RETURN(checkpoint->generation_config_,
                           MakeHfGenerationConfig(file, vocab_size));
  return checkpoint;
}

absl::Status GgufCheckpoint::PlaceTensors(int64_t num_heads, int64_t num_kv_heads,
                                          int64_t head_dim) {
  for (const GgufTensor& tensor : gguf_->tensors()) {
    if (tensor.name == "rope_freqs.weight") continue;  // part of the config
    const std::optional<std::string> name = HfTensorName(tensor.name);
    if (!name.has_value()) {
      return Unimplemented(
          "{}: tensor \"{}\" is none of a Llama, and leaving it out would change the model", path_,
          tensor.name);
    }
    int64_t heads = 0;
    if (name->find(".q_proj.") != std::string::npos) heads = num_heads;
    if (name->find(".k_proj.") != std::string::npos) heads = num_kv_heads;
    if (heads > 0 && tensor.shape[0] != heads * head_dim) {
      return DataLoss("{}: tensor \"{}\" has {} rows, expected {} heads of {}", path_, tensor.name,
                      tensor.shape[0], heads, head_dim);
    }
    const int rank = EndsWith(*name, ".bias") || EndsWith(*name, "norm.weight") ? 1 : 2;
    if (tensor.shape.rank != rank) {
      return DataLoss("{}: tensor \"{}\" has {} dimensions, expected {}", path_, tensor.name,
                      tensor.shape.rank, rank);
    }
    if (EndsWith(*name, ".bias") && !PlainDType(tensor.type).has_value()) {
      return Unimplemented(
          "{}: tensor \"{}\" is a bias of type {}; F32, F16 and BF16 biases are read", path_,
          tensor.name, Traits(tensor.type).name);
    }
    locations_.emplace(*name, Location{&tensor, heads});
  }
  for (const auto& [name, location] : locations_) {
    const GgufTensor& tensor = *location.tensor;
    const std::optional<DType> plain = PlainDType(tensor.type);
    tensors_.push_back({name, tensor.shape,
                        plain.has_value() ? Name(*plain) : Traits(tensor.type).name,
                        tensor.data.size()});
  }
  return absl::OkStatus();
}

absl::StatusOr<DenseTensor> GgufCheckpoint::ReadDense(const std::string& name) const {
  const auto found = locations_.find(name);
  if (found == locations_.end()) return NoSuchTensor(name);
  const auto [tensor, num_permuted_heads] = found->second;
  const std::optional<DType> plain = PlainDType(tensor->type);
  DenseTensor dense;
  dense.view = {tensor->data.data(), plain.value_or(DType::kF32), tensor->shape};
  const bool is_aligned =
      reinterpret_cast<uintptr_t>(tensor->data.data()) % SizeOf(dense.view.dtype) == 0;
  if (plain.has_value() && num_permuted_heads == 0 && is_aligned) return dense;

  BITDIAL_ASSIGN_OR_RETURN(dense.storage, Buffer::Allocate(Device::kCpu, dense.view.NumBytes()));
  dense.view.data = dense.storage.data();
  const int64_t num_rows = num_permuted_heads > 0 ? tensor->shape[0] : 1;
  const int64_t row_values = tensor->shape.NumElements() / num_rows;
  const size_t stored_row_bytes = tensor->data.size() / static_cast<size_t>(num_rows);
  const size_t dense_row_bytes = dense.view.NumBytes() / static_cast<size_t>(num_rows);
  for (int64_t row = 0; row < num_rows; ++row) {
    const int64_t stored_row =
        num_permuted_heads > 0 ? GgufRow(row, num_rows / num_permuted_heads) : row;
    const auto stored =
        tensor->data.subspan(static_cast<size_t>(stored_row) * stored_row_bytes, stored_row_bytes);
    std::byte* out = dense.storage.data() + static_cast<size_t>(row) * dense_row_bytes;
    if (plain.has_value()) {
      std::memcpy(out, stored.data(), stored.size());
    } else {
      DequantizeGgml(tensor->type, stored, row_values, reinterpret_cast<float*>(out));
    }
  }
  return dense;
}

void GgufCheckpoint::Forget(const std::string& name) const {
  const auto found = locations_.find(name);
  if (found != locations_.end()) gguf_->file().Forget(found->second.tensor->data);
}

}  // namespace bitdial::quant
