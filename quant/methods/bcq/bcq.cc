#include "quant/methods/bcq/bcq.h"

#include "quant/methods/solver/alternate.h"

namespace bitdial::quant {
namespace {

// What the published runs use; most groups stand still after 5 to 10.
constexpr int kMaxRounds = 20;

class BcqSolver final : public GroupSolver {
 public:
  explicit BcqSolver(BitRange bits) : bits_(bits) {}

  void Solve(std::span<const float> weights, GroupSolution& solution) override {
    group_.Assign(weights);
    Alternate(group_, GreedyScales(group_, bits_.max), bits_.max, kMaxRounds, fit_);
    for (int bits = bits_.min; bits <= bits_.max; ++bits) {
      StoreScales(NormalEquations(group_, fit_.partition, bits), bits > bits_.min, solution);
    }
    StoreCodes(group_, fit_.partition, solution);
  }

 private:
  const BitRange bits_;
  SortedGroup group_;
  Fit fit_;
};

}  // namespace

std::unique_ptr<GroupSolver> MakeBcqSolver(BitRange bits) {
  return std::make_unique<BcqSolver>(bits);
}

}  // namespace bitdial::quant
