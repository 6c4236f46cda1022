// Times calls of one linear: its real weight, random activations.
#pragma once

#include <vector>

#include "engine/layers/weight_loader.h"
#include "kernels/core/stream.h"
#include "kernels/kernel_choice.h"

namespace bitdial::engine {

// Calls follow each other at once, so a weight that fits a cache is in it, which in a step it may
// not be: a row that reads less than another is not favoured for it.
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

  const Weight& weight_;
  Stream stream_;
  std::vector<float> one_row_;  // [in_features]
  std::vector<float> x_;        // [num_rows, in_features], the same row again and again
  std::vector<float> y_;        // [num_rows, out_features]
  std::vector<uint8_t> bits_;   // [num_rows]
};

}  // namespace bitdial::engine
