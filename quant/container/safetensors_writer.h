// Writes one safetensors file as a stream: tensors are declared first (the header needs every offset), then their bytes
// follow in the declared order, one tensor at a time in RAM. In the file wide types come first, so that every tensor is
// aligned for its type.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/core/dtype.h"
#include "kernels/core/status.h"
#include "kernels/core/view.h"

namespace bitdial::quant {

struct TensorDeclaration {
  std::string name;
  DType dtype;
  Shape shape;
};

// The file is removed again when the writer goes before Finish succeeded.
class SafetensorsWriter {
 public:
  // Creates the file, reserves its disk space and writes the header. Errors: ALREADY_EXISTS, RESOURCE_EXHAUSTED (disk full), PERMISSION_DENIED.
  static absl::StatusOr<std::unique_ptr<SafetensorsWriter>> Create(const std::string& path,
                                                                   std::vector<TensorDeclaration> declarations);
  virtual ~SafetensorsWriter() = default;
  // The bytes of the next declared tensor; `name` and size must match it (CHECK). Errors: RESOURCE_EXHAUSTED (disk full).
  virtual absl::Status Append(const std::string& name, std::span<const std::byte> bytes) = 0;
  // fsync and close; every declared tensor must have been appended (CHECK).
  virtual absl::Status Finish() = 0;
};

}  // namespace bitdial::quant
