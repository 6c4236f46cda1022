#include "quant/methods/solver/sorted_group.h"

#include <algorithm>
#include <bit>

namespace bitdial::quant {
namespace {

// Maps float bits to unsigned integers of the same order, and back.
uint32_t ToOrdered(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
float FromOrdered(uint32_t ordered) {
  return std::bit_cast<float>(ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered);
}

}  // namespace

void SortedGroup::Assign(std::span<const float> weights) {
  const size_t count = weights.size();
  keys_.resize(count);
  x_.resize(count);
  prefix_.resize(count + 1);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) {
    keys_[i] = static_cast<uint64_t>(ToOrdered(weights[i])) << 32 | i;
    sum += static_cast<double>(weights[i]);
  }
  std::sort(keys_.begin(), keys_.end());
  mean_ = count == 0 ? 0 : sum / static_cast<double>(count);
  // A constant group must centre on exactly its value, or rounding of the mean would look like
  // structure.
  if (count > 0 && keys_.front() >> 32 == keys_.back() >> 32)
    mean_ = static_cast<double>(weights[0]);
  prefix_[0] = 0;
  sum_of_squares_ = 0;
  for (size_t i = 0; i < count; ++i) {
    x_[i] = static_cast<double>(FromOrdered(static_cast<uint32_t>(keys_[i] >> 32))) - mean_;
    prefix_[i + 1] = prefix_[i] + x_[i];
    sum_of_squares_ += x_[i] * x_[i];
  }
}

int SortedGroup::FirstNotBelow(int begin, int end, double threshold) const {
  const double* base = x_.data() + begin;
  int length = end - begin;
  while (length > 0) {
    const int half = length / 2;
    if (base[half] < threshold) {
      base += half + 1;
      length -= half + 1;
    } else {
      length = half;
    }
  }
  return static_cast<int>(base - x_.data());
}

}  // namespace bitdial::quant
