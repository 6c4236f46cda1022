// One *.safetensors file: its tensor table, checked. Source: the format's README and the reference
// reader (huggingface/safetensors, tensor.rs), which we follow in refusing gaps, overlaps and bytes
// after the last tensor.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "kernels/core/view.h"
#include "quant/container/mapped_file.h"

namespace bitdial::quant {

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::span<const std::byte>
      data;  // a view into the file, exactly shape x dtype; may be misaligned for its dtype
};

// Thread   const after Open: any. Owns the mapping.
class SafetensorsFile {
 public:
  // Errors  as MappedFile::Open;
  //         DATA_LOSS malformed (names file, tensor, got, expected);
  //         UNIMPLEMENTED a dtype or rank we do not read (names tensor and type).
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Parse(std::unique_ptr<MappedFile> file);

  const std::string& path() const { return file_->path(); }
  const MappedFile& file() const { return *file_; }
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }  // sorted by name

 private:
  explicit SafetensorsFile(std::unique_ptr<MappedFile> file) : file_(std::move(file)) {}
  absl::Status ParseHeader();

  std::unique_ptr<MappedFile> file_;
  std::vector<SafetensorsEntry> entries_;
};

}  // namespace bitdial::quant
