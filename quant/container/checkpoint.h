// One model on disk, whatever its form: a Hugging Face folder (single or sharded safetensors), a GGUF file, or a folder
// with AnyBCQ planes (our own or a published one). Everything above reads tensors by their Hugging Face names.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/status.h"
#include "kernels/core/view.h"
#include "kernels/formats/bcq/prepare.h"
#include "quant/container/json_reader.h"

namespace bitdial::quant {

enum class CheckpointForm { kHuggingFace, kGguf };

// A dense tensor: a view into the mapped file where its type and order allow it, else its own memory (a GGUF block type
// dequantized to f32, a GGUF q/k projection whose rows are put back in Hugging Face order).
struct DenseTensor {
  TensorView view;
  Buffer storage;  // empty when view points into the file
};

// What the quantization section of config.json says ("anybcq", written by the release and by us).
struct QuantizationInfo {
  int min_bits = 0;        // seed_precision
  int max_bits = 0;        // parent_precision
  int64_t group_size = 0;  // -1: in_features
  std::string method;      // "anybcq", "bcq", "rtn"; "anybcq" when the file does not say
};

struct TensorInfo {
  std::string name;      // Hugging Face name: "model.layers.0.self_attn.q_proj.weight"
  Shape shape;
  std::string type;      // as stored: "f16", "i32", "Q4_1", ...
  size_t num_bytes = 0;  // in the file
};

// Thread   const after Open: any. Owns the mappings: views live as long as the checkpoint does.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  // A folder with config.json, or a .gguf file. Files are mapped, not read. Everything that can be checked without
  // touching weight bytes is: header syntax, offsets, sizes, alignment, duplicate names, missing shards.
  // Errors  NOT_FOUND no such path, shard or config.json (says what was looked for)
  //         DATA_LOSS truncated or malformed (file, offset, got, expected); a value of config.json or
  //         generation_config.json of the wrong type or range (file, key)
  //         UNIMPLEMENTED a tensor type, GGUF architecture or foreign quantization we do not read (names it)
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& path);

  virtual CheckpointForm form() const = 0;
  const std::string& path() const { return path_; }  // as opened, for messages
  // The model's config in Hugging Face form; for GGUF translated from the metadata.
  const Json& config() const { return config_; }
  // generation_config.json when there is one (for GGUF: the eos ids), else an empty object.
  const Json& generation_config() const { return generation_config_; }
  // The file or folder that holds the tokenizer: the .gguf itself, or the folder (which may hold vocab.gguf).
  virtual std::string tokenizer_path() const = 0;

  // Present when config.json has the key "anybcq".
  const QuantizationInfo* quantization() const { return has_quantization_ ? &quantization_ : nullptr; }

  // Every tensor, sorted by name, under Hugging Face names.
  virtual const std::vector<TensorInfo>& tensors() const = 0;
  const TensorInfo* Find(const std::string& name) const;  // nullptr: there is none
  bool Has(const std::string& name) const { return Find(name) != nullptr; }

  // A dense tensor. Errors NOT_FOUND (names the nearest existing ones), RESOURCE_EXHAUSTED.
  virtual absl::StatusOr<DenseTensor> ReadDense(const std::string& name) const = 0;

  // True when the linear `prefix` ("model.layers.0.mlp.up_proj", no ".weight") is stored as bit-planes.
  bool IsBcq(const std::string& prefix) const { return Has(prefix + ".qweight"); }
  // Its planes and every (alpha, beta) set, checked against each other; q_bias is never looked at. group_size follows
  // from alpha's shape. The sets run without a gap up to the number of planes; a linear at its own fixed bits has one.
  // A linear without any beta has beta = 0.
  // Errors  NOT_FOUND a missing alpha or beta; DATA_LOSS a shape or dtype that does not fit; both name the tensor.
  absl::StatusOr<kernels::CanonicalBcq> ReadBcq(const std::string& prefix) const;

  // Tells the OS that the mapped pages of this tensor will not be needed again soon (after a kernel layout was made).
  virtual void Forget(const std::string& name) const { (void)name; }

 protected:
  // NOT_FOUND with the names nearest to it.
  absl::Status NoSuchTensor(const std::string& name) const;

  std::string path_;
  Json config_ = Json::object();
  Json generation_config_ = Json::object();
  bool has_quantization_ = false;
  QuantizationInfo quantization_;
};

// [out, in] f32 copy of any dense view, row `row` only: what the quantizer feeds on. out has shape.dims[1] elements.
void ReadRowAsF32(const TensorView& matrix, int64_t row, float* out);

}  // namespace bitdial::quant
