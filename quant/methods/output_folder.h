// A folder that appears whole or not at all.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/core/status.h"

namespace bitdial::quant {

// Files are written to "<final>.tmp-<pid>", a sibling, so that the rename at the end stays on one
// file system. Thread   one at a time.
class OutputFolder {
 public:
  // Makes the temporary folder (and missing parents), and removes those that killed processes left
  // for the same final name. Errors  ALREADY_EXISTS final_path is there and overwrite is off, or it
  // is no folder that quantize made; PERMISSION_DENIED; RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<OutputFolder>> Create(const std::string& final_path,
                                                              bool overwrite);
  // Removes the temporary folder unless Commit succeeded.
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  // Where to write a file until Commit.
  std::string PathOf(const std::string& file_name) const { return temporary_ + "/" + file_name; }
  absl::Status WriteFile(const std::string& file_name, const std::string& bytes) const;
  // Copies source_folder/file_name when it is a file. Returns whether it was.
  absl::StatusOr<bool> CopyFile(const std::string& source_folder,
                                const std::string& file_name) const;

  // Syncs the folder and gives it its final name; with overwrite the old folder is swapped out in
  // the same step. Errors  ALREADY_EXISTS somebody else made final_path meanwhile, and those of
  // rename(2).
  absl::Status Commit();

  // Stale temporary folders that Create removed.
  const std::vector<std::string>& removed() const { return removed_; }

 private:
  OutputFolder(std::string final_path, std::string temporary, bool overwrite)
      : final_(std::move(final_path)), temporary_(std::move(temporary)), overwrite_(overwrite) {}
  void RemoveStale();

  const std::string final_;
  const std::string temporary_;
  const bool overwrite_;
  bool is_committed_ = false;
  std::vector<std::string> removed_;
};

}  // namespace bitdial::quant
