// Oracles of the group solvers: optimum by brute force, projection, monotone half-steps, nesting.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "quant/methods/method.h"
#include "quant/methods/solver/alternate.h"

namespace bitdial::quant {
namespace {

using Group = std::vector<float>;

// Squared error left after projecting w on 1 and the given sign columns, by modified Gram-Schmidt.
double ProjectionError(const Group& w, const std::vector<uint8_t>& codes, int bits) {
  std::vector<std::vector<double>> basis;
  std::vector<double> residual(w.begin(), w.end());
  const auto dot = [](const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
  };
  for (int column = -1; column < bits; ++column) {
    std::vector<double> v(w.size(), 1.0);
    for (size_t i = 0; column >= 0 && i < v.size(); ++i) v[i] = codes[i] >> column & 1 ? 1 : -1;
    for (const auto& b : basis) {
      const double along = dot(v, b);
      for (size_t i = 0; i < v.size(); ++i) v[i] -= along * b[i];
    }
    const double norm = std::sqrt(dot(v, v));
    if (norm < 1e-6) continue;
    for (double& x : v) x /= norm;
    const double along = dot(residual, v);
    for (size_t i = 0; i < v.size(); ++i) residual[i] -= along * v[i];
    basis.push_back(v);
  }
  return dot(residual, residual);
}

double StoredError(const Group& w, const GroupSolution& solution, int bits) {
  const ScaleSet& set = solution.scales[static_cast<size_t>(bits - 1)];
  double error = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    double level = 0;
    for (int p = 0; p < bits; ++p) {
      const double alpha = set.alpha[static_cast<size_t>(p)];
      level += solution.codes[i] >> p & 1 ? alpha : -alpha;
    }
    level += set.beta;
    error += (w[i] - level) * (w[i] - level);
  }
  return error;
}

double Energy(const Group& w) {
  double energy = 0;
  for (const float x : w) energy += static_cast<double>(x) * x;
  return energy;
}

GroupSolution SolveWith(const std::string& method, BitRange bits, const Group& w) {
  GroupSolution solution;
  (*FindMethod(method))->make_solver(bits)->Solve(w, solution);
  return solution;
}

std::vector<uint8_t> CodesOf(const SortedGroup& group, const Partition& partition) {
  GroupSolution solution;
  StoreCodes(group, partition, solution);
  return solution.codes;
}

// Random groups of every kind a weight matrix may hold.
Group RandomGroup(std::mt19937& rng, size_t size) {
  std::normal_distribution<float> normal(0.01f, 0.2f);
  std::student_t_distribution<float> heavy(2.f);
  std::uniform_real_distribution<float> uniform(-1.f, 2.f);
  Group w(size);
  const int kind = static_cast<int>(rng() % 7);
  for (float& x : w) {
    x = kind == 0   ? normal(rng)
        : kind == 1 ? heavy(rng)
        : kind == 2 ? uniform(rng)
        : kind == 3 ? std::round(4 * normal(rng)) / 4  // few distinct values
        : kind == 4 ? 1e-4f * normal(rng)
        : kind == 5 ? normal(rng) + 50  // far from zero
                    : normal(rng);
  }
  if (kind == 6) w[rng() % size] = 300;  // one outlier
  return w;
}

TEST(SolverTest, OneBitWithoutOffsetIsMeanMagnitude) {
  const Group w = {-3, 1, 2, -1, 1, 3, -2, -1};  // mean 0
  SortedGroup group;
  group.Assign(w);
  const Scales scales = GreedyScales(group, 1);
  EXPECT_EQ(scales.beta, 0);
  EXPECT_EQ(scales.alpha[0], 14.0 / 8);
}

TEST(SolverTest, NeverBelowTheBruteForceOptimumAndNearIt) {
  std::mt19937 rng(1);
  for (const int bits : {1, 2}) {
    const int num_groups = bits == 1 ? 100 : 12;
    double optimum_sum = 0, anybcq_sum = 0, bcq_sum = 0;
    for (int trial = 0; trial < num_groups; ++trial) {
      const Group w = RandomGroup(rng, bits == 1 ? 8 : 7);
      double optimum = Energy(w);
      std::vector<uint8_t> codes(w.size());
      const uint32_t num_patterns = 1u << (bits * w.size());
      for (uint32_t pattern = 0; pattern < num_patterns; ++pattern) {
        for (size_t i = 0; i < w.size(); ++i)
          codes[i] = static_cast<uint8_t>(pattern >> (bits * i) & ((1u << bits) - 1));
        optimum = std::min(optimum, ProjectionError(w, codes, bits));
      }
      const double slack = 1e-9 * Energy(w);
      const double anybcq = ProjectionError(w, SolveWith("anybcq", {bits, bits}, w).codes, bits);
      const double bcq = ProjectionError(w, SolveWith("bcq", {bits, bits}, w).codes, bits);
      EXPECT_GE(anybcq, optimum - slack);
      EXPECT_GE(bcq, optimum - slack);
      const double energy = Energy(w);
      if (bits == 1) {
        EXPECT_LE(anybcq, optimum + slack);  // exact: every cut is tried
      }
      optimum_sum += optimum / energy, anybcq_sum += anybcq / energy, bcq_sum += bcq / energy;
    }
    std::printf("bits %d: squared error over the optimum: anybcq %.4f, bcq %.4f\n", bits,
                anybcq_sum / optimum_sum, bcq_sum / optimum_sum);
    EXPECT_LE(anybcq_sum, bcq_sum * 1.001);
  }
}

TEST(SolverTest, LeastSquaresIsTheProjectionAlsoForDependentPlanes) {
  std::mt19937 rng(2);
  for (int trial = 0; trial < 300; ++trial) {
    const Group w = RandomGroup(rng, 64);
    const int bits = 1 + static_cast<int>(rng() % 5);
    SortedGroup group;
    group.Assign(w);
    Partition partition;
    const uint32_t mask = (1u << bits) - 1;
    for (int i = 0; i < group.size(); ++i) {
      uint32_t code = static_cast<uint32_t>(rng()) & mask;
      if (trial % 3 == 0 && bits > 1)
        code = (code & ~2u) | (code & 1) << 1;  // planes 0 and 1 equal
      if (trial % 5 == 0) code |= 1;            // plane 0 constant
      partition.push_back({i, i + 1, code});
    }
    const NormalEquations normal(group, partition, bits);
    const double expected = ProjectionError(w, CodesOf(group, partition), bits);
    EXPECT_NEAR(normal.Error(normal.Solve()), expected, 1e-10 * (Energy(w) + 1e-30))
        << "trial " << trial;
  }
}

TEST(SolverTest, HalfStepsNeverRaiseTheError) {
  std::mt19937 rng(3);
  for (int trial = 0; trial < 200; ++trial) {
    const Group w = RandomGroup(rng, 64);
    const int bits = 1 + static_cast<int>(rng() % 6);
    SortedGroup group;
    group.Assign(w);
    Scales scales = GreedyScales(group, bits);
    Partition partition;
    double last = HUGE_VAL;
    const double slack = 1e-12 * Energy(w);
    for (int round = 0; round < 8; ++round) {
      AssignNearest(group, scales, bits, partition);
      const NormalEquations normal(group, partition, bits);
      const double assigned = normal.Error(scales);
      EXPECT_LE(assigned, last + slack);
      scales = normal.Solve();
      last = normal.Error(scales);
      EXPECT_LE(last, assigned + slack);
    }
  }
}

TEST(SolverTest, JointAssignmentIsTheBestCodeOfEveryWeight) {
  std::mt19937 rng(4);
  std::uniform_real_distribution<double> any(-0.5, 0.5);
  for (int trial = 0; trial < 100; ++trial) {
    const Group w = RandomGroup(rng, 64);
    SortedGroup group;
    group.Assign(w);
    std::vector<WeightedScales> sets;
    for (int bits = 2; bits <= 4; ++bits) {
      WeightedScales set{.bits = bits, .weight = 0.6 + any(rng), .scales = {}};
      set.scales.beta = any(rng);
      for (int p = 0; p < bits; ++p) set.scales.alpha[static_cast<size_t>(p)] = any(rng);
      sets.push_back(set);
    }
    const auto cost = [&](double x, uint32_t code) {
      double sum = 0;
      for (const WeightedScales& set : sets) {
        const double d = x - set.scales.Level(code & ((1u << set.bits) - 1), set.bits);
        sum += set.weight * d * d;
      }
      return sum;
    };
    Partition partition;
    AssignJointly(group, sets, 4, partition);
    int covered = 0;
    for (const Cell& cell : partition) {
      EXPECT_EQ(cell.begin, covered);
      covered = cell.end;
      for (int i = cell.begin; i < cell.end; ++i) {
        double best = HUGE_VAL;
        for (uint32_t code = 0; code < 16; ++code) best = std::min(best, cost(group.x(i), code));
        EXPECT_LE(cost(group.x(i), cell.code), best * (1 + 1e-9) + 1e-9 * Energy(w));
      }
    }
    EXPECT_EQ(covered, group.size());
  }
}

// Nested planes hold by construction (one code per weight); the errors they allow must fall with
// bits, in double and as stored in binary16.
TEST(SolverTest, ErrorNeverRisesWithBits) {
  std::mt19937 rng(5);
  for (const char* method : {"anybcq", "bcq"}) {
    for (const BitRange range : {BitRange{2, 4}, BitRange{1, 4}, BitRange{1, 8}, BitRange{3, 6}}) {
      int num_rises = 0;
      for (int trial = 0; trial < 150; ++trial) {
        const Group w = RandomGroup(rng, trial % 2 ? 64 : 32);
        const GroupSolution solution = SolveWith(method, range, w);
        double exact = HUGE_VAL, stored = HUGE_VAL;
        for (int bits = range.min; bits <= range.max; ++bits) {
          const double slack = 1e-11 * Energy(w);
          const double next_exact = ProjectionError(w, solution.codes, bits);
          const double next_stored = StoredError(w, solution, bits);
          EXPECT_LE(next_exact, exact + slack) << method << " bits " << bits << " trial " << trial;
          EXPECT_LE(next_stored, stored + slack)
              << method << " bits " << bits << " trial " << trial;
          num_rises += next_stored > stored + slack;
          exact = next_exact, stored = next_stored;
        }
      }
      EXPECT_EQ(num_rises, 0);
    }
  }
}

TEST(SolverTest, UniformLevelsAreExactAsPlanes) {
  for (const int bits : {1, 2, 3, 4, 8}) {
    for (const double z : {0.0, 3.0, 7.5}) {
      const double s = 0.03125;  // every product below is exact
      const ScaleSet set = UniformToBcq(s, z, bits);
      for (int u = 0; u < 1 << bits; ++u) {
        double level = set.beta;
        for (int p = 0; p < bits; ++p) {  // plane 0 is the most significant bit of u
          const double alpha = set.alpha[static_cast<size_t>(p)];
          level += u >> (bits - 1 - p) & 1 ? alpha : -alpha;
        }
        EXPECT_EQ(level, s * (u - z)) << "bits " << bits << " u " << u;
      }
    }
  }
}

TEST(SolverTest, RtnGivesUniformWeightsBackBitForBit) {
  std::mt19937 rng(6);
  Group w(64);
  std::vector<int> u(64);
  for (size_t i = 0; i < w.size(); ++i) {
    u[i] = i == 0 ? 0 : i == 1 ? 15 : static_cast<int>(rng() % 16);
    w[i] = 0.25f * static_cast<float>(u[i] - 6);
  }
  const GroupSolution solution = SolveWith("rtn", {2, 4}, w);
  EXPECT_EQ(StoredError(w, solution, 4), 0);
  for (size_t i = 0; i < w.size(); ++i) {
    int code = 0;
    for (int p = 0; p < 4; ++p) code = 2 * code + (solution.codes[i] >> p & 1);
    EXPECT_EQ(code, u[i]);
  }
  // The ladder stays uniform at 2 bits.
  EXPECT_EQ(solution.scales[1].alpha[0], 2 * solution.scales[1].alpha[1]);
}

TEST(SolverTest, EdgeGroups) {
  for (const MethodInfo& method : AllMethods()) {
    for (const BitRange range : {BitRange{1, 4}, BitRange{2, 2}, BitRange{8, 8}}) {
      const auto solve = [&](const Group& w) { return SolveWith(method.name, range, w); };
      for (int bits = range.min; bits <= range.max; ++bits) {
        SCOPED_TRACE(std::string(method.name) + " at " + std::to_string(bits));
        EXPECT_EQ(StoredError(Group(32, 0.f), solve(Group(32, 0.f)), bits), 0);
        EXPECT_EQ(StoredError(Group(32, -0.f), solve(Group(32, -0.f)), bits), 0);
        EXPECT_EQ(StoredError(Group(32, 0.375f), solve(Group(32, 0.375f)), bits), 0);

        Group two(32, -1.f);
        for (size_t i = 0; i < 9; ++i) two[i] = 1;
        EXPECT_LE(StoredError(two, solve(two), bits), 1e-5 * Energy(two));

        Group denormal(32);
        for (size_t i = 0; i < 32; ++i) denormal[i] = static_cast<float>(i) * 1e-44f;
        EXPECT_LE(StoredError(denormal, solve(denormal), bits),
                  Energy(denormal));  // flushed to 0 in binary16

        Group outlier(32, 1e-3f);
        outlier[7] = 1000;
        const double error = StoredError(outlier, solve(outlier), bits);
        EXPECT_LE(error, 1e-4 * Energy(outlier));

        const GroupSolution huge = solve(Group{3e38f, -3e38f, 1, 2, 3, 4, 5, 6});
        const ScaleSet& set = huge.scales[static_cast<size_t>(range.max - 1)];
        EXPECT_FALSE(std::isfinite(set.alpha[0]) && std::isfinite(set.beta));  // refused by the job
      }
    }
  }
}

TEST(SolverTest, OrderOfWeightsDoesNotMatter) {
  std::mt19937 rng(8);
  Group w = RandomGroup(rng, 64);
  const GroupSolution a = SolveWith("anybcq", {2, 4}, w);
  std::reverse(w.begin(), w.end());
  const GroupSolution b = SolveWith("anybcq", {2, 4}, w);
  EXPECT_NEAR(
      StoredError(w, b, 2),
      [&] {
        Group back(w.rbegin(), w.rend());
        return StoredError(back, a, 2);
      }(),
      1e-9 * Energy(w));
}

TEST(SolverTest, AnyBcqIsBelowRoundingAndBelowTheGreedyRecipeOnGaussians) {
  std::mt19937 rng(9);
  std::normal_distribution<float> normal(0, 0.1f);
  std::array<std::array<double, 5>, 3> sums = {};
  for (int trial = 0; trial < 300; ++trial) {
    Group w(64);
    for (float& x : w) x = normal(rng);
    size_t m = 0;
    for (const MethodInfo& method : AllMethods()) {
      const GroupSolution solution = SolveWith(method.name, {2, 4}, w);
      for (int bits = 2; bits <= 4; ++bits)
        sums[m][static_cast<size_t>(bits)] += StoredError(w, solution, bits);
      ++m;
    }
  }
  size_t m = 0;
  for (const MethodInfo& method : AllMethods()) {
    std::printf("%-8s relative error", method.name);
    for (size_t bits = 2; bits <= 4; ++bits)
      std::printf("  %zu bits %.4f", bits, std::sqrt(sums[m][bits] / (300 * 64 * 0.01)));
    std::printf("\n");
    for (size_t bits = 2; bits <= 4 && m > 0; ++bits)
      EXPECT_LT(sums[0][bits], sums[m][bits]) << method.name;
    ++m;
  }
}

TEST(SolverTest, UnknownMethodNamesTheKnownOnes) {
  const auto method = FindMethod("gptq");
  ASSERT_FALSE(method.ok());
  EXPECT_NE(std::string(method.status().message()).find("anybcq, bcq, rtn"), std::string::npos);
}

}  // namespace
}  // namespace bitdial::quant
