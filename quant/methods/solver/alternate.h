// Alternating minimisation of one sorted group, and what every method does with its result.
#pragma once

#include "quant/methods/method.h"
#include "quant/methods/solver/least_squares.h"
#include "quant/methods/solver/partition.h"

namespace bitdial::quant {

// Scales, the codes that are best under them, and the squared error both leave.
struct Fit {
  Scales scales;
  Partition partition;
  double error = 0;
};

// Residual greedy: beta = mean, then alpha[p] = mean |r|, r -= alpha[p] sign(r), plane by plane.
Scales GreedyScales(const SortedGroup& group, int bits);

// From `start`: nearest levels, least squares, planes sorted by |alpha|, and again until the error
// stands still or max_rounds are done. The error never rises from one half-step to the next. Writes
// `fit`.
void Alternate(const SortedGroup& group, const Scales& start, int bits, int max_rounds, Fit& fit);

// The same for plane `plane` under frozen planes 0 .. plane - 1: all plane + 1 scales move, old
// codes do not. `fit` holds the first codes of planes 0 .. plane and gets the result.
void AlternateTopPlane(const SortedGroup& group, const Partition& parent, int plane, int max_rounds,
                       Fit& fit);

// Writes the binary16 scales of normal.bits. With `previous`, the set one bit below, the error
// never rises above what that set leaves: where rounding would let it, the new plane is switched
// off (alpha 0).
void StoreScales(const NormalEquations& normal, bool has_previous, GroupSolution& solution);

// Writes every code of the partition to its weight's place.
void StoreCodes(const SortedGroup& group, const Partition& partition, GroupSolution& solution);

}  // namespace bitdial::quant
