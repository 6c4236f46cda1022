// A whole file as read-only bytes, mapped rather than read.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "kernels/core/status.h"

namespace bitdial::quant {

// Thread     const: any.
// Invariant  the bytes stay where they are until destruction.
// Hazard     a file that another process cuts short while it is mapped raises SIGBUS on access;
// checkpoints are
//            replaced by renaming, never in place.
class MappedFile {
 public:
  // Errors  NOT_FOUND no such file; INVALID_ARGUMENT not a regular file; DATA_LOSS empty;
  //         PERMISSION_DENIED; RESOURCE_EXHAUSTED no address space or file handle left.
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path);
  // The same interface over a copy of bytes in memory, of exactly their size: for tests and
  // fuzzing.
  static std::unique_ptr<MappedFile> CopyOf(std::span<const std::byte> bytes, std::string name);

  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }

  // Lets the OS drop the pages of this range; they come back from the file on the next access.
  void Forget(std::span<const std::byte> range) const;

 private:
  MappedFile(std::string path, const std::byte* data, size_t size, bool is_mapped)
      : path_(std::move(path)), data_(data), size_(size), is_mapped_(is_mapped) {}

  std::string path_;
  const std::byte* data_;
  size_t size_;
  bool is_mapped_;  // false: data_ came from new[]
};

}  // namespace bitdial::quant
