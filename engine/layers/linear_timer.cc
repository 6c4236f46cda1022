#include "engine/layers/linear_timer.h"

#include <algorithm>
#include <chrono>
#include <random>

namespace bitdial::engine {

void LinearTimer::MakeRoom(int64_t num_rows) {
  if (one_row_.empty()) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < weight_.in_features; ++i) one_row_.push_back(normal(random));
  }
  const auto count = static_cast<size_t>(num_rows);
  const int most_bits = weight_.bcq.scales.empty() ? 0 : weight_.bcq.scales.back().bits;
  for (size_t r = bits_.size(); r < count; ++r)
    x_.insert(x_.end(), one_row_.begin(), one_row_.end());
  y_.resize(count * static_cast<size_t>(weight_.out_features));
  bits_.resize(count, static_cast<uint8_t>(most_bits));
}

void LinearTimer::EmptyCaches() {
  constexpr size_t kBytes = size_t{8} << 20;  // no processor has so large an L2
  other_.resize(kBytes / sizeof(uint64_t), 1);
  stream_.pool().ParallelFor(stream_.pool().num_threads(), [&](int64_t) {
    uint64_t sum = 0;
    for (size_t i = 0; i < other_.size(); i += 8) sum += other_[i];
    asm volatile("" : : "r"(sum));  // the reads must not be optimised away
  });
}

double LinearTimer::Time(const kernels::KernelRow& row, int64_t num_rows) {
  if (static_cast<int64_t>(bits_.size()) < num_rows) MakeRoom(num_rows);
  const auto linear = std::get<kernels::LinearFn>(row.fn);
  EmptyCaches();
  const auto start = std::chrono::steady_clock::now();
  linear({.dense = weight_.AsDense(),
          .bcq = weight_.AsBcq(),
          .int8 = weight_.AsInt8(),
          .x = MakeMatrix<const float>(x_.data(), num_rows, weight_.in_features),
          .y = MakeMatrix(y_.data(), num_rows, weight_.out_features),
          .bits = bits_.data()},
         stream_);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace bitdial::engine
