#include "quant/methods/rtn/rtn.h"

#include <algorithm>
#include <cmath>

#include "quant/methods/solver/alternate.h"

namespace bitdial::quant {
namespace {

class RtnSolver final : public GroupSolver {
 public:
  explicit RtnSolver(BitRange bits) : bits_(bits) {}

  void Solve(std::span<const float> weights, GroupSolution& solution) override {
    group_.Assign(weights);
    const ScaleSet grid = Grid();
    AssignNearest(group_, Centred(grid), bits_.max, partition_);
    for (int bits = bits_.min; bits < bits_.max; ++bits) {
      solution.scales[static_cast<size_t>(bits - 1)] =
          NormalEquations(group_, partition_, bits).SolveLadderF16();
    }
    solution.scales[static_cast<size_t>(bits_.max - 1)] = grid;
    StoreCodes(group_, partition_, solution);
  }

 private:
  // Step and offset are rounded to binary16 first and codes chosen on the grid as stored.
  ScaleSet Grid() const {
    const double low = group_.x(0), high = group_.x(group_.size() - 1);
    const double half_step = RoundToF16((high - low) / std::ldexp(2.0, bits_.max - 0) * Stretch());
    ScaleSet grid = UniformToBcq(2 * half_step, 0, bits_.max);
    grid.beta = static_cast<float>(RoundToF16(group_.mean() + (low + high) / 2));
    return grid;
  }
  // 2^bits / (2^bits - 1): levels sit on both ends of the range.
  double Stretch() const { return std::ldexp(1.0, bits_.max) / (std::ldexp(1.0, bits_.max) - 1); }

  Scales Centred(const ScaleSet& set) const {
    Scales scales;
    scales.beta = static_cast<double>(set.beta) - group_.mean();
    for (size_t p = 0; p < kMaxBits; ++p) scales.alpha[p] = static_cast<double>(set.alpha[p]);
    return scales;
  }

  const BitRange bits_;
  SortedGroup group_;
  Partition partition_;
};

}  // namespace

std::unique_ptr<GroupSolver> MakeRtnSolver(BitRange bits) {
  return std::make_unique<RtnSolver>(bits);
}

}  // namespace bitdial::quant
