// Which kernel rows were the fastest on this machine, measured at load and kept in a file.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "kernels/kernel_choice.h"

namespace bitdial::engine {

// The file is a JSON object:
//   {"about": "...", "format": 1, "choices": {"<machine>; <shape>": ["<row>", ...], ...}}
// with a row for each of kernels::kCallSizes. What it says decides times and never results: a row
// that is no candidate is not taken. It may be deleted at any time, and several processes may share
// it: it is replaced whole, so a reader sees one of its versions.
//
// Owner   who loads a model. Thread: one at a time.
class KernelChoices {
 public:
  // path: "" keeps nothing. A file that is not there is well.
  // machine: everything but the shape that times depend on, as one line: processor, build. Under
  // another one the file's choices are as if they were not there.
  static KernelChoices Open(const std::string& path, const std::string& machine);

  // The choice for a linear of this shape: the file's, else one made now by calling `time`
  // (kernels::TimedChoice). A single candidate is not timed, nor are references.
  // Requires  candidates as KernelTable::Candidates returns them for the shape.
  kernels::ChosenRows Choose(std::span<const kernels::KernelRow* const> candidates,
                             const kernels::KernelShape& shape, int num_threads,
                             const kernels::TimeCall& time);

  // Writes the file when a choice was made since Open.
  // Errors  those of a file or folder that cannot be written, and FAILED_PRECONDITION for a path that
  //         names something not written here, which is left alone; then each start measures again.
  absl::Status Save() const;

  int num_timed() const { return num_timed_; }  // choices made by timing
  // What a user should know of the file, a line each: that it, or an entry, is broken.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  using RowNames = std::vector<std::string>;
  using Entries = std::map<std::string, RowNames>;

  static absl::StatusOr<Entries> Read(const std::string& path);

  std::string path_;
  std::string machine_;
  Entries known_;  // of the file, and made
  Entries used_;   // of these, what Choose returned
  int num_timed_ = 0;
  std::vector<std::string> notes_;
};

}  // namespace bitdial::engine
