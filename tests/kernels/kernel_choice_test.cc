// Which row of a class runs calls of which size: by hint, and by times that the test makes up.
#include "kernels/kernel_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace bitdial::kernels {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

std::string AnyShape(const KernelShape&) { return ""; }
void Nothing(const LinearArgs&, Stream&) noexcept {}

KernelRow Row(const char* name, int64_t min_rows, Backend backend = Backend::kCpuAvx512) {
  return {.key = {.op = Op::kLinear},
          .backend = backend,
          .name = name,
          .numeric_class = "class",
          .supports = AnyShape,
          .fn = LinearFn{Nothing},
          .min_rows = min_rows};
}

std::vector<std::string> Names(const ChosenRows& chosen) {
  std::vector<std::string> names;
  for (const KernelRow* row : chosen) names.push_back(row->name);
  return names;
}

const KernelRow kTables = Row("tables", 1), kRebuilt = Row("rebuilt", 16);
const KernelRow kOlder = Row("older", 1, Backend::kCpuAvx2);
const KernelRow* const kTwo[] = {&kTables, &kRebuilt};

TEST(CallSize, IsTheLastThatBeginsAtTheCount) {
  EXPECT_EQ(CallSizeOf(1), 0u);
  for (size_t size = 1; size < kCallSizes.size(); ++size) {
    EXPECT_EQ(CallSizeOf(kCallSizes[size].from), size);
    EXPECT_EQ(CallSizeOf(kCallSizes[size].from - 1), size - 1);
    EXPECT_EQ(CallSizeOf(kCallSizes[size].timed_at), size);
  }
  EXPECT_EQ(CallSizeOf(int64_t{1} << 40), kCallSizes.size() - 1);
}

TEST(StaticChoice, FollowsTheHintOfHowManyRows) {
  EXPECT_THAT(Names(StaticChoice(kTwo)),
              ElementsAre("tables", "tables", "tables", "tables", "rebuilt", "rebuilt", "rebuilt"));
  const KernelRow* const turned[] = {&kRebuilt, &kTables};
  EXPECT_EQ(StaticChoice(turned), StaticChoice(kTwo));
}

TEST(StaticChoice, PrefersTheBetterBackendAmongThoseThatAreMeant) {
  const KernelRow* const candidates[] = {&kOlder, &kRebuilt};
  EXPECT_THAT(Names(StaticChoice(candidates)),
              ElementsAre("older", "older", "older", "older", "rebuilt", "rebuilt", "rebuilt"));
  const KernelRow* const both[] = {&kOlder, &kTables};
  EXPECT_THAT(Names(StaticChoice(both)), Each("tables"));
}

TEST(StaticChoice, TakesTheFirstOfEqualsAndTheOnlyOneThereIs) {
  const KernelRow twin = Row("twin", 1);
  const KernelRow* const twins[] = {&kTables, &twin};
  EXPECT_THAT(Names(StaticChoice(twins)), Each("tables"));
  const KernelRow* const alone[] = {&kRebuilt};
  EXPECT_THAT(Names(StaticChoice(alone)), Each("rebuilt"));
}

// Times by name for every size, in microseconds, and the calls that were made.
struct MadeUpTimes {
  std::map<std::string, double> us;
  double us_per_row = 0;
  std::vector<std::string> calls = {};

  double operator()(const KernelRow& row, int64_t num_rows) {
    calls.push_back(row.name);
    return 1e-6 * (us.at(row.name) + us_per_row * static_cast<double>(num_rows));
  }
};

TEST(TimedChoice, ChangesOnlyWhatIsFasterByATenth) {
  MadeUpTimes close{.us = {{"tables", 100}, {"rebuilt", 91}}};
  EXPECT_EQ(TimedChoice(kTwo, std::ref(close))[0], &kTables);
  MadeUpTimes clear{.us = {{"tables", 100}, {"rebuilt", 89}}};
  EXPECT_THAT(Names(TimedChoice(kTwo, std::ref(clear))), Each("rebuilt"));
  MadeUpTimes other{.us = {{"tables", 89}, {"rebuilt", 100}}};
  EXPECT_THAT(Names(TimedChoice(kTwo, std::ref(other))), Each("tables"));
}

TEST(TimedChoice, TakesTheLeastOfRoundsInTurn) {
  // `rebuilt` is twice as fast but for a neighbour who takes the processor in the first calls.
  int num_calls = 0;
  const auto time = [&](const KernelRow& row, int64_t) {
    const double usual = &row == &kRebuilt ? 50e-6 : 100e-6;
    return num_calls++ < 3 ? 1e-3 : usual;
  };
  EXPECT_THAT(Names(TimedChoice(kTwo, time)), Each("rebuilt"));
  MadeUpTimes times{.us = {{"tables", 1}, {"rebuilt", 1}}};
  (void)TimedChoice(kTwo, std::ref(times));
  ASSERT_GE(times.calls.size(), 4u);
  for (size_t i = 0; i < times.calls.size(); ++i) EXPECT_EQ(times.calls[i], kTwo[i % 2]->name) << i;
}

// A millisecond for each row of x: calls of 32 rows do not fit the budget any more.
TEST(TimedChoice, KeepsTheHintWhereTheBudgetHasNoRoom) {
  MadeUpTimes times{.us = {{"tables", 500}, {"rebuilt", 0}}, .us_per_row = 1000};
  double seconds = 0;
  const auto time = [&](const KernelRow& row, int64_t num_rows) {
    const double took = times(row, num_rows);
    seconds += took;
    return took;
  };
  const ChosenRows chosen = TimedChoice(kTwo, time);
  EXPECT_EQ(chosen[0], &kRebuilt);  // 1.0 and 1.5 ms
  EXPECT_EQ(chosen[3], &kTables);   // not timed
  EXPECT_EQ(chosen[6], &kRebuilt);  // not timed
  EXPECT_LE(seconds, 0.060);
}

// One round alone, which also warms up, decides nothing.
TEST(TimedChoice, GivesUpAfterOneRoundOfAGiant) {
  MadeUpTimes times{.us = {{"tables", 90000}, {"rebuilt", 100}}};
  EXPECT_EQ(TimedChoice(kTwo, std::ref(times)), StaticChoice(kTwo));
  EXPECT_EQ(times.calls.size(), 2u);
}

}  // namespace
}  // namespace bitdial::kernels
