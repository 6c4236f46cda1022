// Where time goes, call by call: for `bitdial bench step`.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace bitdial {

// Thread   written by the thread that runs kernels; read it when none runs.
class CallTimes {
 public:
  struct Entry {
    int64_t num_calls = 0;
    double seconds = 0;
    std::map<std::string, int64_t> calls_by_kernel;  // kernel row -> its calls, together num_calls
  };

  void Add(const std::string& what, const std::string& kernel, double seconds) {
    Entry& entry = entries_[what];
    ++entry.num_calls;
    entry.seconds += seconds;
    ++entry.calls_by_kernel[kernel];
  }
  void Clear() { entries_.clear(); }
  // By what ran: "linear 2048x5632", "rms_norm".
  const std::map<std::string, Entry>& entries() const { return entries_; }

 private:
  std::map<std::string, Entry> entries_;
};

}  // namespace bitdial
