// Codes of a sorted group as intervals, and the two ways to choose them: nearest level, or one more
// plane under frozen ones.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "quant/methods/method.h"
#include "quant/methods/solver/sorted_group.h"

namespace bitdial::quant {

// The unknowns of a group in double: w - mean ~= beta + sum_{p < bits} alpha[p] * s_p.
struct Scales {
  std::array<double, kMaxBits> alpha = {};
  double beta = 0;

  // beta + sum of +-alpha for a code of `bits` planes (bit p of code is plane p).
  double Level(uint32_t code, int bits) const;
};

// Sorted elements [begin, end) carry `code`.
struct Cell {
  int begin = 0;
  int end = 0;
  uint32_t code = 0;
};
// Non-empty cells that cover the group in ascending order.
using Partition = std::vector<Cell>;

// Gives every element the nearest of the 2^bits levels (ties go up). Overwrites `partition`.
void AssignNearest(const SortedGroup& group, const Scales& scales, int bits, Partition& partition);

// One precision of several that share their codes: what its error counts for.
struct WeightedScales {
  int bits = 0;
  double weight = 0;  // >= 0
  Scales scales;
};

// Gives every element the code of max_bits planes that is best for all sets together: least
// sum over sets of weight * (x - level of the code's first `bits` planes)^2. In x every code's cost
// is the same parabola less a line, so the best codes are the upper envelope of 2^max_bits lines:
// intervals again.
void AssignJointly(const SortedGroup& group, std::span<const WeightedScales> sets, int max_bits,
                   Partition& partition);

// Gives plane `plane` the sign that is best under `scales`, planes below it as `parent` has them:
// each parent cell is cut at its level. Overwrites `partition`, which is not `parent`.
void SplitAtLevels(const SortedGroup& group, const Partition& parent, const Scales& scales,
                   int plane, Partition& partition);

// The same cut where it leaves the least squared error when each half has a level of its own: a
// start for the above.
void SplitAtBestCut(const SortedGroup& group, const Partition& parent, int plane,
                    Partition& partition);

}  // namespace bitdial::quant
