// Least squares for the scales of a group at fixed codes.
#pragma once

#include <array>

#include "quant/methods/solver/partition.h"

namespace bitdial::quant {

// The normal equations gram * theta = rhs, theta = (beta, alpha[0], .. alpha[bits - 1]).
// Entries of gram are counts, so they are exact.
struct NormalEquations {
  static constexpr int kMaxUnknowns = kMaxBits + 1;
  using Vector = std::array<double, kMaxUnknowns>;

  int bits = 0;
  std::array<Vector, kMaxUnknowns> gram;
  Vector rhs;
  double sum_of_squares = 0;  // of the group less its mean
  double mean = 0;

  // Only the first `bits` planes of the codes count.
  NormalEquations(const SortedGroup& group, const Partition& partition, int bits);

  // The squared error these codes leave under `scales` (of the centred group); never below 0.
  double Error(const Scales& scales) const;

  // The scales of least error. A plane that is a combination of those before it (equal planes, a
  // constant plane beside beta) gets alpha 0: the remaining system is regular, so no ridge is
  // needed and the solution stays exact.
  Scales Solve() const;

  // The same on the binary16 grid, scales of the uncentred group: unknowns are rounded one at a
  // time, beta and the coarse alphas first, and those still free absorb the rounding (Babai's
  // nearest plane).
  ScaleSet SolveF16() const;
  // The squared error under scales of the uncentred group.
  double Error(const ScaleSet& scales) const;

  // Only step and offset of a uniform ladder are free: alpha[p] = s 2^(bits - 2 - p). Binary16 as
  // well.
  ScaleSet SolveLadderF16() const;
};

// The nearest binary16 value; an infinity beyond its range.
double RoundToF16(double value);

}  // namespace bitdial::quant
