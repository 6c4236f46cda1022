// A group of weights, sorted: the view in which BCQ is cheap.
//
// The nearest of any set of levels cuts sorted weights into intervals, so an assignment of codes is
// a short list of intervals, a round of nearest-level search is a few binary searches, and every
// sum the least squares needs is a difference of two prefix sums: a round costs O(2^bits log
// group_size), whatever the group holds.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace bitdial::quant {

class SortedGroup {
 public:
  // weights [group_size], finite.
  void Assign(std::span<const float> weights);

  int size() const { return static_cast<int>(x_.size()); }
  // Weights are held less their mean, so that sums of squares cancel no digits that matter.
  double mean() const { return mean_; }
  // Element i in ascending order, less the mean.
  double x(int i) const { return x_[static_cast<size_t>(i)]; }
  // Sum of x over [begin, end).
  double Sum(int begin, int end) const {
    return prefix_[static_cast<size_t>(end)] - prefix_[static_cast<size_t>(begin)];
  }
  double sum_of_squares() const { return sum_of_squares_; }
  // First i of [begin, end) with x(i) >= threshold, end when there is none. sign(0) is +1: equality
  // goes up.
  int FirstNotBelow(int begin, int end, double threshold) const;
  // Where sorted element i stood in the weights.
  int Position(int i) const {
    return static_cast<int>(static_cast<uint32_t>(keys_[static_cast<size_t>(i)]));
  }

 private:
  std::vector<uint64_t> keys_;  // [group_size] ordered float bits << 32 | position
  std::vector<double> x_;       // [group_size] ascending
  std::vector<double> prefix_;  // [group_size + 1]
  double mean_ = 0;
  double sum_of_squares_ = 0;
};

}  // namespace bitdial::quant
