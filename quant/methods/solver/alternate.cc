#include "quant/methods/solver/alternate.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace bitdial::quant {
namespace {

// A round that gains less than this share of the error is the last: the gain is below what binary16
// scales can hold.
constexpr double kLeastGain = 1e-6;

// Signs go to the codes and planes are ordered by significance; the set of levels, hence the error,
// stays the same.
void SortPlanes(int bits, Scales& scales) {
  for (size_t p = 0; p < static_cast<size_t>(bits); ++p)
    scales.alpha[p] = std::abs(scales.alpha[p]);
  std::sort(scales.alpha.begin(), scales.alpha.begin() + bits, std::greater<>());
}

}  // namespace

Scales GreedyScales(const SortedGroup& group, int bits) {
  Scales scales;
  for (int p = 0; p < bits; ++p) {
    double sum = 0;
    for (int i = 0; i < group.size(); ++i) {
      double residual = group.x(i);
      for (int k = 0; k < p; ++k) {
        const double alpha = scales.alpha[static_cast<size_t>(k)];
        residual -= residual >= 0 ? alpha : -alpha;
      }
      sum += std::abs(residual);
    }
    scales.alpha[static_cast<size_t>(p)] = sum / std::max(group.size(), 1);
  }
  return scales;
}

void Alternate(const SortedGroup& group, const Scales& start, int bits, int max_rounds, Fit& fit) {
  fit.scales = start;
  fit.error = group.sum_of_squares();
  for (int round = 0; round < max_rounds; ++round) {
    AssignNearest(group, fit.scales, bits, fit.partition);
    const NormalEquations normal(group, fit.partition, bits);
    fit.scales = normal.Solve();
    const double error = normal.Error(fit.scales);
    const bool is_done = round > 0 && error >= fit.error * (1 - kLeastGain);
    fit.error = error;
    if (is_done || round + 1 == max_rounds) break;
    SortPlanes(bits, fit.scales);
  }
}

void AlternateTopPlane(const SortedGroup& group, const Partition& parent, int plane, int max_rounds,
                       Fit& fit) {
  for (int round = 0; round < max_rounds; ++round) {
    if (round > 0) SplitAtLevels(group, parent, fit.scales, plane, fit.partition);
    const NormalEquations normal(group, fit.partition, plane + 1);
    fit.scales = normal.Solve();
    const double error = normal.Error(fit.scales);
    const bool is_done = round > 0 && error >= fit.error * (1 - kLeastGain);
    fit.error = error;
    if (is_done) break;
  }
}

void StoreScales(const NormalEquations& normal, bool has_previous, GroupSolution& solution) {
  const auto set = static_cast<size_t>(normal.bits - 1);
  solution.scales[set] = normal.SolveF16();
  if (!has_previous) return;
  const ScaleSet& previous = solution.scales[set - 1];  // its alpha of the new plane is 0
  if (normal.Error(previous) < normal.Error(solution.scales[set])) solution.scales[set] = previous;
}

void StoreCodes(const SortedGroup& group, const Partition& partition, GroupSolution& solution) {
  solution.codes.resize(static_cast<size_t>(group.size()));
  for (const Cell& cell : partition) {
    for (int i = cell.begin; i < cell.end; ++i) {
      solution.codes[static_cast<size_t>(group.Position(i))] = static_cast<uint8_t>(cell.code);
    }
  }
}

}  // namespace bitdial::quant
