// One GGUF file (versions 2 and 3, little-endian): its metadata and where its tensors lie. What a
// "llama" model makes of them is gguf_checkpoint.cc's business, how block types become floats
// ggml_types.h's. Source: the GGUF specification of ggml (docs/gguf.md).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"
#include "kernels/core/view.h"
#include "quant/container/ggml_types.h"
#include "quant/container/gguf_value.h"
#include "quant/container/mapped_file.h"

namespace bitdial::quant {

struct GgufTensor {
  std::string name;  // as in the file: "blk.0.attn_q.weight"
  GgmlType type = GgmlType::kF32;
  Shape shape;                      // outermost first: the file's own order reversed
  std::span<const std::byte> data;  // a view into the file; aligned to general.alignment
};

// Everything is checked at Open: getters and views never meet a bad length later.
// Thread   const after Open: any. Owns the mapping: views and string_views live as long as this
// object.
class GgufFile {
 public:
  // Errors  as MappedFile::Open;
  //         DATA_LOSS malformed (says file, byte offset, got, expected);
  //         UNIMPLEMENTED version 1, big-endian, or a tensor type we do not read (names tensor and
  //         type).
  static absl::StatusOr<std::unique_ptr<GgufFile>> Open(const std::string& path);
  static absl::StatusOr<std::unique_ptr<GgufFile>> Parse(std::unique_ptr<MappedFile> file);
  // True when the bytes start as a GGUF file does.
  static bool HasMagic(std::span<const std::byte> bytes);

  const std::string& path() const { return file_->path(); }
  const MappedFile& file() const { return *file_; }
  uint32_t version() const { return version_; }

  bool Has(std::string_view key) const { return values_.find(key) != values_.end(); }
  std::vector<std::string_view> Keys() const;  // sorted

  // Scalars. Errors: NOT_FOUND absent (not for the ...Or forms), DATA_LOSS another type or out of
  // [min, max]; both name file and key. GetInt takes every integer type, GetFloat f32 and f64.
  absl::StatusOr<std::string_view> GetString(std::string_view key) const;
  absl::StatusOr<std::string_view> GetStringOr(std::string_view key,
                                               std::string_view fallback) const;
  absl::StatusOr<int64_t> GetInt(std::string_view key, int64_t min, int64_t max) const;
  absl::StatusOr<int64_t> GetIntOr(std::string_view key, int64_t fallback, int64_t min,
                                   int64_t max) const;
  absl::StatusOr<double> GetFloat(std::string_view key) const;
  absl::StatusOr<double> GetFloatOr(std::string_view key, double fallback) const;
  absl::StatusOr<bool> GetBoolOr(std::string_view key, bool fallback) const;

  // Arrays. Strings are views into the file and may be any bytes; numbers are copied.
  bool IsArray(std::string_view key) const;
  absl::StatusOr<std::vector<std::string_view>> GetStrings(std::string_view key) const;
  absl::StatusOr<std::vector<int64_t>> GetInts(std::string_view key) const;
  absl::StatusOr<std::vector<float>> GetFloats(std::string_view key) const;

  // In the order of the file.
  const std::vector<GgufTensor>& tensors() const { return tensors_; }

  // All metadata as it lies in the file, num_values() entries.
  std::span<const std::byte> metadata_bytes() const { return metadata_bytes_; }
  uint64_t num_values() const { return values_.size(); }

 private:
  friend class GgufParser;
  explicit GgufFile(std::unique_ptr<MappedFile> file) : file_(std::move(file)) {}
  absl::StatusOr<const GgufValue*> Find(std::string_view key) const;
  absl::StatusOr<const GgufValue*> FindArray(std::string_view key) const;
  absl::Status WrongType(std::string_view key, const GgufValue& value, const char* expected) const;

  std::unique_ptr<MappedFile> file_;
  uint32_t version_ = 0;
  std::map<std::string_view, GgufValue> values_;  // keys are views into the file
  std::vector<GgufTensor> tensors_;
  std::span<const std::byte> metadata_bytes_;
};

// Writes the metadata of `source` and no tensor: a model made from a GGUF file keeps its exact
// tokenizer this way. Errors  ALREADY_EXISTS, NOT_FOUND (folder), PERMISSION_DENIED,
// RESOURCE_EXHAUSTED (disk full; no file is left).
absl::Status WriteVocabGguf(const GgufFile& source, const std::string& path);

}  // namespace bitdial::quant
