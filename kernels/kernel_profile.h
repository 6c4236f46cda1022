// Where the time of a step goes, kernel by kernel: for `bitdial bench step`.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "kernels/kernel_table.h"

namespace bitdial::kernels {

// Thread   written by the thread that runs kernels; read it when none runs.
class KernelProfile {
 public:
  struct Entry {
    int64_t num_calls = 0;
    double seconds = 0;
  };

  // The row's function behind one that counts into `profile`, which outlives every call. One profile
  // at a time in a process: a row's last one gets the calls.
  static KernelFn Timed(const KernelRow& row, KernelProfile* profile);

  // By what ran: "linear 2048x5632", "rms_norm".
  const std::map<std::string, Entry>& entries() const { return entries_; }
  void Add(const std::string& what, double seconds);
  void Clear() { entries_.clear(); }

 private:
  std::map<std::string, Entry> entries_;
};

}  // namespace bitdial::kernels
