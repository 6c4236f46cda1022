// Every row of the kernel table against its reference, its class and itself. A new row is picked up
// without an edit; a row that nothing exercises fails. Compiled twice: with the small sweep, and
// with real layers (label slow).
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>

#include "kernels/register_all.h"
#include "tests/conformance/problems.h"

namespace bitdial::kernels {
namespace {

#ifdef BITDIAL_REAL_SHAPES
constexpr auto kProblems = RealProblems;
#else
constexpr auto kProblems = SmallProblems;
#endif

const KernelTable& Table() {
  static const KernelTable table = KernelTable::Create(DetectCpuFeatures(), "").value();
  return table;
}

// The cpu_ref row for what `row` computes: the exact one, else (a format that rounds by itself) that of
// its class.
const KernelRow& ReferenceOf(const KernelRow& row) {
  for (const Numerics numerics : {Numerics::kExact, row.numerics}) {
    for (const KernelRow& other : AllRows()) {
      if (other.backend != Backend::kCpuRef || other.key.op != row.key.op) continue;
      if (other.key.weight_format != row.key.weight_format ||
          other.key.kv_format != row.key.kv_format || other.numerics != numerics)
        continue;
      if (other.key.role == row.key.role || other.key.role == Role::kAny ||
          row.key.role == Role::kAny)
        return other;
    }
  }
  ADD_FAILURE() << row.name << " has no reference";
  return row;
}

std::string FirstDifference(const std::vector<float>& a, const std::vector<float>& b,
                            int64_t width) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(float)) == 0) continue;
    return fmt::format("row {} column {}: {:.9g} and {:.9g}", static_cast<int64_t>(i) / width,
                       static_cast<int64_t>(i) % width, a[i], b[i]);
  }
  return "";
}

class KernelConformance : public ::testing::TestWithParam<KernelRow> {
 protected:
  void SetUp() override {
    if (!Table().IsRunnable(GetParam())) {
      GTEST_SKIP() << "SKIPPED: " << GetParam().name << " does not run on this processor";
    }
  }
};

TEST_P(KernelConformance, StaysWithinTheBoundOfItsReference) {
  const KernelRow& row = GetParam();
  const KernelRow& reference = ReferenceOf(row);
  ThreadPool pool(2);
  Stream stream(pool);
  int64_t num_problems = 0, num_values = 0;
  double worst = 0;
  std::string worst_cell = "none";
  for (const MakeProblem& make : kProblems(row.key)) {
    const Problem problem = make();
    if (!row.supports(problem.shape).empty()) continue;
    ++num_problems;
    const std::vector<float> expected = problem.run(reference, stream, 0, problem.num_rows);
    const std::vector<float> got = problem.run(row, stream, 0, problem.num_rows);
    ASSERT_EQ(got.size(), problem.bounds.size());
    for (size_t i = 0; i < got.size(); ++i) {
      ++num_values;
      if (got[i] == expected[i]) continue;
      const double error = std::abs(static_cast<double>(got[i]) - expected[i]);
      const double bound = problem.BoundFor(row, i);
      const double share = error / bound;  // inf where the bound is 0
      if (!(share <= worst)) {
        worst = share;
        worst_cell =
            fmt::format("{}, row {} column {}: got {:.9g}, reference {:.9g}, bound {:.3g}",
                        problem.description, static_cast<int64_t>(i) / problem.row_width,
                        static_cast<int64_t>(i) % problem.row_width, got[i], expected[i], bound);
      }
      ASSERT_LE(share, 1.0) << worst_cell;
    }
  }
  std::printf("%s: %ld values of %ld problems, worst %.3f of its bound at %s\n", row.name,
              num_values, num_problems, worst, worst_cell.c_str());
  EXPECT_GT(num_problems, 0) << "no problem exercises this row";
}

// Invariant 8: a row alone, among others, and on any number of threads.
TEST_P(KernelConformance, RowsDoNotDependOnCompanyOrThreads) {
  const KernelRow& row = GetParam();
  ThreadPool one(1), two(2), three(3);
  Stream stream(one), two_stream(two), three_stream(three);
  for (const MakeProblem& make : kProblems(row.key)) {
    const Problem problem = make();
    if (!row.supports(problem.shape).empty()) continue;
    const std::vector<float> together = problem.run(row, stream, 0, problem.num_rows);
    for (Stream* threads : {&two_stream, &three_stream}) {
      const std::vector<float> again = problem.run(row, *threads, 0, problem.num_rows);
      ASSERT_EQ(FirstDifference(together, again, problem.row_width), "")
          << problem.description << " with " << threads->pool().num_threads() << " threads";
    }
    const int64_t step = problem.num_rows > 20 ? problem.num_rows / 7 : 1;
    for (int64_t begin = 0; begin < problem.num_rows; begin += step) {
      for (int64_t count : {int64_t{1}, std::min<int64_t>(3, problem.num_rows - begin)}) {
        const std::vector<float> alone = problem.run(row, stream, begin, count);
        const auto first = together.begin() + begin * problem.row_width;
        const std::vector<float> among(first, first + count * problem.row_width);
        ASSERT_EQ(FirstDifference(among, alone, problem.row_width), "")
            << problem.description << ": rows " << begin << " .. " << begin + count - 1 << " alone";
      }
    }
  }
}

// Each with the next of its class by name: equality is transitive.
TEST_P(KernelConformance, AgreesWithItsClassBitForBit) {
  const KernelRow& row = GetParam();
  const KernelRow* next = nullptr;
  for (const KernelRow& other : AllRows()) {
    if (std::string(other.name) <= row.name || !(other.key == row.key)) continue;
    if (std::string(other.numeric_class) != row.numeric_class || !Table().IsRunnable(other))
      continue;
    if (next == nullptr || std::string(other.name) < next->name) next = &other;
  }
  if (next == nullptr) return;
  ThreadPool pool(1);
  Stream stream(pool);
  for (const MakeProblem& make : kProblems(row.key)) {
    const Problem problem = make();
    if (!row.supports(problem.shape).empty() || !next->supports(problem.shape).empty()) continue;
    ASSERT_EQ(FirstDifference(problem.run(row, stream, 0, problem.num_rows),
                              problem.run(*next, stream, 0, problem.num_rows), problem.row_width),
              "")
        << row.name << " and " << next->name << ": " << problem.description;
  }
}

TEST_P(KernelConformance, RefusesIllegalShapes) {
  for (const KernelShape& shape : IllegalShapes(GetParam().key)) {
    EXPECT_NE(GetParam().supports(shape), "")
        << "in " << shape.in_features << " out " << shape.out_features << " heads "
        << shape.num_heads << "/" << shape.num_kv_heads << " head_dim " << shape.head_dim;
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, KernelConformance,
                         ::testing::ValuesIn(AllRows().begin(), AllRows().end()),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace bitdial::kernels
