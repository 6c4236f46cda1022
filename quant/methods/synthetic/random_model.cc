#include "quant/methods/synthetic/random_model.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/core/dtype.h"
#include "quant/methods/output_config.h"
#include "quant/methods/output_folder.h"
#include "quant/methods/tensor_plan.h"

namespace bitdial::quant {
namespace {

// The config and the tensors of a dense model of this shape; there are no weights behind them.
class ShapeOnly : public Checkpoint {
 public:
  explicit ShapeOnly(const LlamaShape& shape) {
    path_ = shape.name;
    config_ = {{"architectures", {"LlamaForCausalLM"}},
               {"model_type", "llama"},
               {"torch_dtype", "float16"},
               {"vocab_size", shape.vocab_size},
               {"hidden_size", shape.hidden_size},
               {"intermediate_size", shape.intermediate_size},
               {"num_hidden_layers", shape.num_layers},
               {"num_attention_heads", shape.num_heads},
               {"num_key_value_heads", shape.num_kv_heads},
               {"max_position_embeddings", shape.max_positions},
               {"hidden_act", "silu"},
               {"rms_norm_eps", 1e-5},
               {"rope_theta", 10000.0},
               {"tie_word_embeddings", false},
               {"bos_token_id", 0},
               {"eos_token_id", 0}};
    const int64_t hidden = shape.hidden_size, ffn = shape.intermediate_size;
    const int64_t kv = hidden / shape.num_heads * shape.num_kv_heads;
    Add("lm_head", {shape.vocab_size, hidden});
    Add("model.embed_tokens", {shape.vocab_size, hidden});
    for (int64_t i = 0; i < shape.num_layers; ++i) {
      const std::string layer = fmt::format("model.layers.{}.", i);
      Add(layer + "input_layernorm", {hidden});
      Add(layer + "mlp.down_proj", {hidden, ffn});
      Add(layer + "mlp.gate_proj", {ffn, hidden});
      Add(layer + "mlp.up_proj", {ffn, hidden});
      Add(layer + "post_attention_layernorm", {hidden});
      Add(layer + "self_attn.k_proj", {kv, hidden});
      Add(layer + "self_attn.o_proj", {hidden, hidden});
      Add(layer + "self_attn.q_proj", {hidden, hidden});
      Add(layer + "self_attn.v_proj", {kv, hidden});
    }
    Add("model.norm", {hidden});
    std::sort(tensors_.begin(), tensors_.end(),
              [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  }

  CheckpointForm form() const override { return CheckpointForm::kHuggingFace; }
  std::string tokenizer_path() const override { return path_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  absl::StatusOr<DenseTensor> ReadDense(const std::string& name) const override {
    return NoSuchTensor(name);
  }

 private:
  void Add(const std::string& prefix, Shape shape) {
    tensors_.push_back({.name = prefix + ".weight", .shape = shape, .type = "f16"});
  }

  std::vector<TensorInfo> tensors_;
};

// Byte-level BPE without a merge: the 256 bytes.
std::string ByteTokenizer() {
  Json vocab = Json::object();
  int next = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const bool is_printed = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int code_point = is_printed ? byte : 256 + next++;  // as GPT-2 writes bytes
    std::string name;
    if (code_point < 0x80) {
      name = static_cast<char>(code_point);
    } else {
      name = {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 63))};
    }
    vocab[name] = byte;
  }
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  return Json({{"version", "1.0"},
               {"added_tokens", Json::array()},
               {"pre_tokenizer", byte_level},
               {"decoder", byte_level},
               {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}})
      .dump();
}

bool Contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

// The bytes of one declared tensor.
std::vector<std::byte> Fill(const TensorDeclaration& tensor, std::mt19937_64& random) {
  const int64_t count = tensor.shape.NumElements();
  std::vector<std::byte> bytes(static_cast<size_t>(count) * SizeOf(tensor.dtype));
  if (tensor.dtype == DType::kI32) {
    auto* const words = reinterpret_cast<uint64_t*>(bytes.data());
    for (size_t i = 0; i < bytes.size() / 8; ++i) words[i] = random();
    return bytes;
  }
  auto* const halves = reinterpret_cast<uint16_t*>(bytes.data());
  if (Contains(tensor.name, ".alpha_")) {
    // [group][plane][out]: the planes of a weight of deviation 0.02, each half the one before.
    const int64_t planes = tensor.shape[1], outputs = tensor.shape[2];
    for (int64_t i = 0; i < count; ++i) {
      const auto plane = static_cast<float>(i / outputs % planes);
      halves[i] = F32ToF16(0.017f * std::exp2(-plane));
    }
  } else {
    const uint16_t value = F32ToF16(Contains(tensor.name, ".beta_") ? 1e-4f : 1.0f);
    std::fill_n(halves, count, value);
  }
  return bytes;
}

}  // namespace

absl::Status WriteRandomModel(const LlamaShape& shape, const QuantizeOptions& options) {
  const ShapeOnly source(shape);
  BITDIAL_ASSIGN_OR_RETURN(const QuantizePlan plan, PlanTensors(source, options));
  BITDIAL_ASSIGN_OR_RETURN(const std::unique_ptr<OutputFolder> folder,
                           OutputFolder::Create(options.output, options.overwrite));
  BITDIAL_RETURN_IF_ERROR(
      folder->WriteFile("config.json", MakeOutputConfig(source, options, plan).dump(2) + "\n"));
  BITDIAL_RETURN_IF_ERROR(folder->WriteFile("tokenizer.json", ByteTokenizer() + "\n"));
  const std::vector<TensorDeclaration> declarations = Declare(plan.tensors);
  BITDIAL_ASSIGN_OR_RETURN(
      const std::unique_ptr<SafetensorsWriter> writer,
      SafetensorsWriter::Create(folder->PathOf("model.safetensors"), declarations));
  std::mt19937_64 random(1);
  for (const TensorDeclaration& tensor : declarations) {
    BITDIAL_RETURN_IF_ERROR(writer->Append(tensor.name, Fill(tensor, random)));
  }
  BITDIAL_RETURN_IF_ERROR(writer->Finish());
  return folder->Commit();
}

}  // namespace bitdial::quant
