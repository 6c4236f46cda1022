// Which layers a warm-up has to run.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "engine/layers/linear.h"

namespace bitdial::engine {

// Indices, ascending, of the layers that have a linear of a format or shape that no layer before
// them has: running these alone takes the kernels' scratch memory to the size that all need. One
// for most models; per-tensor bits make more.
// Layer  has linears(), a list of const Linear*.
template <typename Layer>
std::vector<int64_t> LayersToWarmUp(const std::vector<Layer>& layers) {
  using Kind = std::pair<kernels::WeightFormat, kernels::KernelShape>;
  std::vector<Kind> seen;
  std::vector<int64_t> chosen;
  for (size_t i = 0; i < layers.size(); ++i) {
    const size_t num_seen = seen.size();
    for (const Linear* linear : layers[i].linears()) {
      const Kind kind(linear->weight().format, linear->weight().shape());
      if (std::find(seen.begin(), seen.end(), kind) == seen.end()) seen.push_back(kind);
    }
    if (seen.size() > num_seen) chosen.push_back(static_cast<int64_t>(i));
  }
  return chosen;
}

// Indices of a model's layers, ascending, made once at load so that a step allocates nothing.
class LayersToRun {
 public:
  LayersToRun() = default;
  template <typename Layer>
  explicit LayersToRun(const std::vector<Layer>& layers)
      : all_(layers.size()), warm_up_(LayersToWarmUp(layers)) {
    std::iota(all_.begin(), all_.end(), 0);
  }
  const std::vector<int64_t>& For(const StepContext& step) const {
    return step.is_warm_up ? warm_up_ : all_;
  }

 private:
  std::vector<int64_t> all_;
  std::vector<int64_t> warm_up_;
};

}  // namespace bitdial::engine
