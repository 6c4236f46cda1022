#include "quant/methods/anybcq/anybcq.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "quant/methods/solver/alternate.h"

namespace bitdial::quant {
namespace {

// What a percent of error at the lowest precision is worth, in percents at each other one. At 1 the
// 2-bit error of a 2-4 range is 2% worse and the 4-bit error 5% better (SmolLM2-135M), at 9 the
// other way round.
constexpr double kBaseImportance = 3;

// Errors below this share of the group's energy are under the rounding of the scales to binary16:
// equally good.
constexpr double kErrorFloor = 0x1p-24;

// A joint round that lowers the objective by less is the last.
constexpr double kLeastGain = 1e-4;

// Half of a uniform grid's levels over half of the group's range: outermost levels pulled in by so
// much.
constexpr double kClips[] = {1.0, 0.9, 0.8};

class AnyBcqSolver final : public GroupSolver {
 public:
  // From 2^6 levels on a round costs more than a further start gains.
  explicit AnyBcqSolver(BitRange bits)
      : bits_(bits), num_clips_(bits.max < 6 ? 3 : 1), max_rounds_(bits.max < 6 ? 20 : 6) {}

  void Solve(std::span<const float> weights, GroupSolution& solution) override {
    group_.Assign(weights);
    best_objective_ = HUGE_VAL;
    for (int i = 0; i < num_clips_; ++i) StartUniform(kClips[i]);
    if (bits_.min < 6) StartProgressive();  // above, the uniform grid is the better start by far
    for (int bits = bits_.min; bits <= bits_.max; ++bits) {
      StoreScales(NormalEquations(group_, best_, bits), bits > bits_.min, solution);
    }
    StoreCodes(group_, best_, solution);
  }

 private:
  void StartUniform(double clip);
  void StartProgressive();
  void TryBase(const Scales& start);
  void AddPlane(int plane);
  void KeepBetter();
  Scales UniformGrid(int bits, double clip) const;
  double Objective(const Partition& partition);
  void RefineJointly(Partition& partition);

  const BitRange bits_;
  const int num_clips_;
  const int max_rounds_;
  SortedGroup group_;
  Fit fit_, chain_;   // a trial, and the best progressive chain so far
  Partition parent_;  // the chain before its newest plane
  Partition trial_;   // joint refinement: the next codes
  Partition best_;    // over all starts
  double best_objective_ = 0;
  std::vector<WeightedScales> sets_;  // of the partition Objective saw last
};

// 2^bits equidistant levels from end to end of the range, pulled towards its middle by `clip`.
Scales AnyBcqSolver::UniformGrid(int bits, double clip) const {
  const double low = group_.x(0), high = group_.x(group_.size() - 1);
  Scales grid;
  grid.beta = (low + high) / 2;
  const double half_step = clip * (high - low) / 2 / (std::ldexp(1.0, bits) - 1);
  for (int p = 0; p < bits; ++p)
    grid.alpha[static_cast<size_t>(p)] = std::ldexp(half_step, bits - 1 - p);
  return grid;
}

void AnyBcqSolver::StartUniform(double clip) {
  AssignNearest(group_, UniformGrid(bits_.max, clip), bits_.max, fit_.partition);
  RefineJointly(fit_.partition);
}

void AnyBcqSolver::StartProgressive() {
  chain_.error = HUGE_VAL;
  int plane = bits_.min;
  if (bits_.min == 1) {  // the best single cut is the optimum: the first plane over a base of none
    chain_.scales = {};
    chain_.partition = {{0, group_.size(), 0}};
    plane = 0;
  } else {
    TryBase(GreedyScales(group_, bits_.min));
    for (const double clip : {1.0, 0.8, 0.6, 0.45}) TryBase(UniformGrid(bits_.min, clip));
  }
  for (; plane < bits_.max; ++plane) AddPlane(plane);
  RefineJointly(chain_.partition);
}

void AnyBcqSolver::TryBase(const Scales& start) {
  Alternate(group_, start, bits_.min, max_rounds_, fit_);
  KeepBetter();
}

void AnyBcqSolver::AddPlane(int plane) {
  std::swap(parent_, chain_.partition);
  SplitAtLevels(group_, parent_, chain_.scales, plane, fit_.partition);
  chain_.error = HUGE_VAL;
  AlternateTopPlane(group_, parent_, plane, max_rounds_, fit_);
  KeepBetter();
  SplitAtBestCut(group_, parent_, plane, fit_.partition);
  AlternateTopPlane(group_, parent_, plane, max_rounds_, fit_);
  KeepBetter();
}

void AnyBcqSolver::KeepBetter() {
  if (fit_.error < chain_.error) std::swap(fit_, chain_);
}

// Solves the scales of every precision for these codes and weighs them for the next round.
double AnyBcqSolver::Objective(const Partition& partition) {
  const double floor = kErrorFloor * group_.sum_of_squares() + 1e-300;
  double objective = 0;
  sets_.clear();
  for (int bits = bits_.min; bits <= bits_.max; ++bits) {
    const NormalEquations normal(group_, partition, bits);
    const Scales scales = normal.Solve();
    const double error = normal.Error(scales) + floor;
    const double importance = bits == bits_.min ? kBaseImportance : 1;
    sets_.push_back({bits, importance / error, scales});
    objective += importance * std::log(error);
  }
  return objective;
}

// Descends from `partition` (overwritten) and keeps the end when it is the best so far.
void AnyBcqSolver::RefineJointly(Partition& partition) {
  double objective = Objective(partition);
  for (int round = 0; round < max_rounds_; ++round) {
    AssignJointly(group_, sets_, bits_.max, trial_);
    const double next = Objective(trial_);
    if (next >= objective) break;
    const bool is_last = next > objective - kLeastGain;
    objective = next;
    std::swap(partition, trial_);
    if (is_last) break;
  }
  if (objective < best_objective_) {
    best_objective_ = objective;
    std::swap(best_, partition);
  }
}

}  // namespace

std::unique_ptr<GroupSolver> MakeAnyBcqSolver(BitRange bits) {
  return std::make_unique<AnyBcqSolver>(bits);
}

}  // namespace bitdial::quant
