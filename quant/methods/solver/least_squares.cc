#include "quant/methods/solver/least_squares.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/dtype.h"

namespace bitdial::quant {
namespace {

constexpr int kMaxUnknowns = NormalEquations::kMaxUnknowns;
using Vector = NormalEquations::Vector;

// Walsh-Hadamard transform with +1 for a set bit: out[mask] = sum over codes of in[code] * product
// of the signs in mask.
template <size_t kSize>
void SignTransform(std::array<double, kSize>& values, int bits) {
  const size_t count = size_t{1} << bits;
  for (size_t half = 1; half < count; half *= 2) {
    for (size_t block = 0; block < count; block += 2 * half) {
      for (size_t i = block; i < block + half; ++i) {
        const double minus = values[i], plus = values[i + half];
        values[i] = plus + minus;
        values[i + half] = plus - minus;
      }
    }
  }
}

// Cholesky factor of the Gram matrix with its unknowns taken in `order`; dependent ones are
// dropped.
struct Factor {
  int count = 0;                           // unknowns kept
  std::array<int, kMaxUnknowns> order;     // the kept unknowns, in elimination order
  std::array<Vector, kMaxUnknowns> lower;  // [count, count]
  Vector forward;                          // lower * forward = rhs

  Factor(const NormalEquations& normal, const std::array<int, kMaxUnknowns>& wanted) {
    const int num_unknowns = normal.bits + 1;
    // Pivots are 0 or at least a ratio of small integer determinants: anything this far below the
    // count is rounding.
    const double tiny = 1e-9 * normal.gram[0][0];
    for (int w = 0; w < num_unknowns; ++w) {
      const auto unknown = static_cast<size_t>(wanted[static_cast<size_t>(w)]);
      const auto row = static_cast<size_t>(count);
      double pivot = normal.gram[unknown][unknown];
      double value = normal.rhs[unknown];
      for (size_t k = 0; k < row; ++k) {
        double entry = normal.gram[unknown][static_cast<size_t>(order[k])];
        for (size_t i = 0; i < k; ++i) entry -= lower[row][i] * lower[k][i];
        entry /= lower[k][k];
        lower[row][k] = entry;
        pivot -= entry * entry;
        value -= entry * forward[k];
      }
      if (pivot <= tiny) continue;
      lower[row][row] = std::sqrt(pivot);
      forward[row] = value / lower[row][row];
      order[row] = static_cast<int>(unknown);
      ++count;
    }
  }

  // Back substitution, last unknown first; `round(unknown, value)` may move a value before the
  // others see it.
  template <typename Round>
  Vector BackSubstitute(const Round& round) const {
    Vector theta = {};
    for (int k = count - 1; k >= 0; --k) {
      const auto row = static_cast<size_t>(k);
      double value = forward[row];
      for (auto i = row + 1; i < static_cast<size_t>(count); ++i) {
        value -= lower[i][row] * theta[static_cast<size_t>(order[i])];
      }
      theta[static_cast<size_t>(order[row])] = round(order[row], value / lower[row][row]);
    }
    return theta;
  }
};

Scales FromVector(const Vector& theta) {
  Scales scales;
  scales.beta = theta[0];
  std::copy(theta.begin() + 1, theta.end(), scales.alpha.begin());
  return scales;
}

}  // namespace

double RoundToF16(double value) {
  // Through float the value would be rounded twice; a float keeps 13 bits more, so only exact ties
  // could differ.
  return static_cast<double>(F16ToF32(F32ToF16(static_cast<float>(value))));
}

NormalEquations::NormalEquations(const SortedGroup& group, const Partition& partition, int num_bits)
    : bits(num_bits), sum_of_squares(group.sum_of_squares()), mean(group.mean()) {
  std::array<double, size_t{1} << kMaxBits> counts, sums;
  std::fill_n(counts.begin(), size_t{1} << bits, 0.0);
  std::fill_n(sums.begin(), size_t{1} << bits, 0.0);
  const uint32_t mask = (1u << bits) - 1;
  for (const Cell& cell : partition) {
    counts[cell.code & mask] += cell.end - cell.begin;
    sums[cell.code & mask] += group.Sum(cell.begin, cell.end);
  }
  SignTransform(counts, bits);
  SignTransform(sums, bits);
  const auto mask_of = [](int unknown) { return unknown == 0 ? 0u : 1u << (unknown - 1); };
  for (int i = 0; i <= bits; ++i) {
    for (int j = 0; j <= bits; ++j) {
      gram[static_cast<size_t>(i)][static_cast<size_t>(j)] = counts[mask_of(i) ^ mask_of(j)];
    }
    rhs[static_cast<size_t>(i)] = sums[mask_of(i)];
  }
}

double NormalEquations::Error(const Scales& scales) const {
  double error = sum_of_squares;
  const auto value = [&](size_t i) { return i == 0 ? scales.beta : scales.alpha[i - 1]; };
  for (size_t i = 0; i <= static_cast<size_t>(bits); ++i) {
    double product = -2 * rhs[i];
    for (size_t j = 0; j <= static_cast<size_t>(bits); ++j) product += gram[i][j] * value(j);
    error += value(i) * product;
  }
  return std::max(error, 0.0);
}

double NormalEquations::Error(const ScaleSet& scales) const {
  Scales centred;
  centred.beta = static_cast<double>(scales.beta) - mean;
  for (size_t p = 0; p < kMaxBits; ++p) centred.alpha[p] = static_cast<double>(scales.alpha[p]);
  return Error(centred);
}

Scales NormalEquations::Solve() const {
  const Factor factor(*this, {0, 1, 2, 3, 4, 5, 6, 7, 8});  // beta is never dropped
  return FromVector(factor.BackSubstitute([](int, double value) { return value; }));
}

ScaleSet NormalEquations::SolveF16() const {
  // Which unknowns are free is decided as in Solve; they are then eliminated finest first, so that
  // back substitution meets (and rounds) beta and the coarsest alpha first.
  const Factor kept(*this, {0, 1, 2, 3, 4, 5, 6, 7, 8});
  NormalEquations regular = *this;
  std::array<int, kMaxUnknowns> order = {};
  int count = 0;
  for (int k = kept.count - 1; k >= 0; --k)
    order[static_cast<size_t>(count++)] = kept.order[static_cast<size_t>(k)];
  regular.bits = count - 1;
  const Factor factor(regular, order);
  const Vector theta = factor.BackSubstitute([&](int unknown, double value) {
    return unknown == 0 ? RoundToF16(mean + value) - mean : RoundToF16(value);
  });
  ScaleSet scales;
  scales.beta = static_cast<float>(RoundToF16(mean + theta[0]));
  for (size_t p = 0; p < static_cast<size_t>(bits); ++p)
    scales.alpha[p] = static_cast<float>(theta[p + 1]);
  return scales;
}

ScaleSet NormalEquations::SolveLadderF16() const {
  // The ladder's basis vector is sum_p 2^(bits - 2 - p) plane_p; with beta two unknowns remain.
  double square = 0, with_one = 0, with_x = 0;
  const auto power = [&](int p) { return std::ldexp(1.0, bits - 2 - p); };
  for (int p = 0; p < bits; ++p) {
    const auto i = static_cast<size_t>(p + 1);
    with_one += power(p) * gram[0][i];
    with_x += power(p) * rhs[i];
    for (int r = 0; r < bits; ++r)
      square += power(p) * power(r) * gram[i][static_cast<size_t>(r + 1)];
  }
  const double count = gram[0][0];
  const double determinant = square * count - with_one * with_one;
  // The finest alpha is s / 2 and must be on the grid, then all are; beta is fitted to the step as
  // rounded.
  const double step = determinant <= 1e-9 * square * count
                          ? 0
                          : 2 * RoundToF16((with_x * count - with_one * rhs[0]) / determinant / 2);
  const double beta = RoundToF16(mean + (rhs[0] - step * with_one) / count);
  ScaleSet scales = UniformToBcq(step, 0, bits);
  for (float& alpha : scales.alpha)
    alpha = static_cast<float>(RoundToF16(static_cast<double>(alpha)));
  scales.beta = static_cast<float>(beta);
  return scales;
}

}  // namespace bitdial::quant
