// Times calls of one linear: its real weight, random activations.
#pragma once

#include <vector>

#include "engine/layers/weight_loader.h"
#include "kernels/core/stream.h"
#include "kernels/kernel_choice.h"

namespace bitdial::engine {

// Before each call every thread reads more than an L2 holds: in a step a weight has been away from it
// since the step before, and a row that fetches ahead is the better for it.
//
// Owner   WeightLoader, for one weight. Thread: one at a time.
class LinearTimer {
 public:
  // Both must outlive the timer.
  LinearTimer(const Weight& weight, ThreadPool& pool) : weight_(weight), stream_(pool) {}

  // Seconds of one call of `row`, every row of x at the weight's most bits.
  // Requires  a row of KernelTable::Candidates for the weight.
  double Time(const kernels::KernelRow& row, int64_t num_rows);

 private:
  void MakeRoom(int64_t num_rows);
  void EmptyCaches();

  const Weight& weight_;
  Stream stream_;
  std::vector<float> one_row_;  // [in_features]
  std::vector<float> x_;        // [num_rows, in_features], the same row again and again
  std::vector<float> y_;        // [num_rows, out_features]
  std::vector<uint8_t> bits_;   // [num_rows]
  std::vector<uint64_t> other_;  // what EmptyCaches reads
};

}  // namespace bitdial::engine
