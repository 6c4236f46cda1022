// A new file that is either finished whole or not there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "kernels/core/status.h"

namespace bitdial::quant {

// Thread   one at a time.
class FileWriter {
 public:
  // Creates `path`, which must not exist, and reserves num_bytes on the disk where the file system
  // can, so that a disk too small is found before the work is done. Errors  ALREADY_EXISTS;
  // NOT_FOUND (folder); PERMISSION_DENIED; RESOURCE_EXHAUSTED disk full (names path and bytes).
  static absl::StatusOr<std::unique_ptr<FileWriter>> Create(const std::string& path,
                                                            uint64_t num_bytes);
  // Removes the file unless Finish succeeded.
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  // Errors  RESOURCE_EXHAUSTED disk full.
  absl::Status WriteAt(uint64_t offset, std::span<const std::byte> bytes);
  // fsync and close.
  absl::Status Finish();

 private:
  FileWriter(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_;
  std::string path_;
};

}  // namespace bitdial::quant
