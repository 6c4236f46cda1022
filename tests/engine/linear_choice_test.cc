// Which kernel row runs a linear: a forced one for every row count, a measured one by row count,
// and the same result from each of a class.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <tuple>

#include "engine/layers/linear.h"
#include "kernels/core/call_times.h"
#include "kernels/formats/bcq/prepare.h"
#include "kernels/formats/int8/from_bcq.h"
#include "tests/kernels/bcq_random.h"
#include "tests/testing/loaded_model.h"
#include "tests/testing/temp_dir.h"

namespace bitdial::engine {
namespace {

using kernels::KernelKey;
using kernels::KernelRow;
using kernels::KernelTable;
using kernels::Role;
using kernels::WeightFormat;

constexpr int64_t kIn = 192, kOut = 130;
// Some of every kernels::kCallSizes.
constexpr int64_t kCounts[] = {1, 3, 7, 8, 15, 16, 63, 64, 511, 512, 600};
using Counts = std::map<std::string, int64_t>;  // kernel row -> calls

std::shared_ptr<const Weight> PlanesWeight(ThreadPool& pool) {
  kernels::RandomBcq random(
      {.in_features = kIn, .out_features = kOut, .group_size = 64, .max_bits = 4});
  auto weight = std::make_shared<Weight>();
  weight->name = "planes";
  weight->format = WeightFormat::kBcq;
  weight->in_features = kIn;
  weight->out_features = kOut;
  weight->bcq = kernels::PrepareForEveryRow(random.canonical, pool);
  return weight;
}

std::shared_ptr<const Weight> Int8Weight(ThreadPool& pool) {
  kernels::RandomBcq random(
      {.in_features = kIn, .out_features = kOut, .group_size = 64, .max_bits = 8, .sets = {8}});
  auto weight = std::make_shared<Weight>();
  weight->name = "int8";
  weight->format = WeightFormat::kInt8;
  weight->in_features = kIn;
  weight->out_features = kOut;
  weight->int8 =
      kernels::MakeInt8(kernels::PrepareBcq(random.canonical, pool).value(), pool).value();
  return weight;
}

std::shared_ptr<const Weight> DenseWeight() {
  auto weight = std::make_shared<Weight>();
  weight->name = "dense";
  weight->in_features = kIn;
  weight->out_features = kOut;
  weight->dense.storage =
      Buffer::Allocate(Device::kCpu, static_cast<size_t>(kIn * kOut) * sizeof(float)).value();
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  float* const values = weight->dense.storage.As<float>();
  for (int64_t i = 0; i < kIn * kOut; ++i) values[i] = normal(random);
  weight->dense.w = {weight->dense.storage.As<std::byte>(), DType::kF32, {kOut, kIn}};
  return weight;
}

// Linears of both formats, and calls whose kernels are counted by name.
class LinearChoiceTest : public ::testing::Test {
 protected:
  LinearChoiceTest() {
    weights_ = {{WeightFormat::kBcq, PlanesWeight(pool_)}, {WeightFormat::kDense, DenseWeight()},
                {WeightFormat::kInt8, Int8Weight(pool_)}};
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < kCounts[std::size(kCounts) - 1] * kIn; ++i)
      x_.push_back(normal(random));
  }

  Linear Load(const KernelTable& table, WeightFormat format, KernelChoices* choices = nullptr) {
    WeightLoader loader(*checkpoint_, table, pool_, choices, /*times_kernels=*/true);
    absl::StatusOr<Linear> linear = Linear::LoadHead(loader, weights_.at(format), /*is_tied=*/true, 0, 0);
    EXPECT_TRUE(linear.ok()) << linear.status();
    names_ = loader.totals().kernel_names;
    return *std::move(linear);
  }

  // The result [num_rows, kOut]; calls_ are those of this one.
  std::vector<float> Run(const Linear& linear, Role role, int64_t num_rows, bool warms_up = false) {
    std::vector<uint8_t> bits(static_cast<size_t>(num_rows), 4);
    for (int64_t r = num_rows / 2; r < num_rows; ++r) bits[static_cast<size_t>(r)] = 2;
    return Run(linear, role == Role::kPrompt ? num_rows : 0, bits, warms_up);
  }
  // The first num_prompt rows are of a prompt.
  std::vector<float> Run(const Linear& linear, int64_t num_prompt, const std::vector<uint8_t>& bits,
                         bool warms_up = false) {
    const auto num_rows = static_cast<int64_t>(bits.size());
    std::vector<float> y(static_cast<size_t>(num_rows * kOut));
    CallTimes times;
    Stream stream(pool_, &times);
    Workspace workspace = Workspace::Create(Device::kCpu, 64).value();
    StepContext step{stream, workspace, nullptr, warms_up};
    linear.Forward(MakeMatrix<const float>(x_.data(), num_rows, kIn),
                   MakeMatrix(y.data(), num_rows, kOut),
                   {.num_rows = num_rows,
                    .num_prompt_rows = num_prompt,
                    .bits = bits.data()},
                   step);
    EXPECT_EQ(times.entries().size(), 1u);
    calls_ = times.entries().begin()->second.calls_by_kernel;
    return y;
  }

  ThreadPool pool_{2};
  std::unique_ptr<quant::Checkpoint> checkpoint_ =  // a loader's messages name it
      quant::Checkpoint::Open(testing::GoldenPath("anybcq_release")).value();
  std::map<WeightFormat, std::shared_ptr<const Weight>> weights_;
  std::vector<float> x_;
  Counts calls_;
  std::set<std::string> names_;
};

// Is the row in the class that its own numerics ask for? Else forcing it runs nothing.
bool IsOfItsClass(const KernelRow& row, Role role, const Weight& weight) {
  const auto plain = KernelTable::Create(DetectCpuFeatures(), "", row.numerics);
  const KernelKey key = {.op = row.key.op, .weight_format = row.key.weight_format, .role = role};
  const auto found = plain->Find(key, weight.shape());
  return (row.key.role == role || row.key.role == Role::kAny) &&
         std::string((*found)->numeric_class) == row.numeric_class;
}

TEST_F(LinearChoiceTest, AForcedRowRunsEveryCallWithTheResultOfItsClass) {
  using Case = std::tuple<WeightFormat, Role, std::string, int64_t>;
  std::map<Case, std::vector<float>> results;
  std::set<std::string> compared;
  for (const KernelRow& row : KernelTable::Create(DetectCpuFeatures(), "")->rows()) {
    if (row.key.op != kernels::Op::kLinear) continue;
    const auto table = KernelTable::Create(DetectCpuFeatures(), "", row.numerics, row.name);
    if (!table.ok()) {
      std::printf("SKIPPED: %s needs another processor\n", row.name);
      continue;
    }
    for (Role role : {Role::kPrompt, Role::kDecode}) {
      if (!IsOfItsClass(row, role, *weights_.at(row.key.weight_format))) continue;
      const Linear linear = Load(*table, row.key.weight_format);
      EXPECT_TRUE(table->CheckForcedRowsUsed(names_).ok());
      for (int64_t count : kCounts) {
        SCOPED_TRACE(fmt::format("{}, {} rows", row.name, count));
        const std::vector<float> y = Run(linear, role, count);
        EXPECT_EQ(calls_, (Counts{{row.name, 1}}));
        const Case same{row.key.weight_format, role, row.numeric_class, count};
        const auto [first, is_first] = results.emplace(same, y);
        if (is_first) continue;
        EXPECT_EQ(std::memcmp(y.data(), first->second.data(), y.size() * sizeof(float)), 0);
        compared.insert(row.name);
      }
    }
  }
  // Two rows that every machine has; on others more.
  EXPECT_EQ(compared.count("bcq_linear_i8_dequant__ref"), 1u);
}

// Prompt and decode rows of one class are one call where their bits descend, and the same rows either way.
TEST_F(LinearChoiceTest, BothRolesOfOneClassReadTheWeightsOnce) {
  const auto table = KernelTable::Create(DetectCpuFeatures(), "", kernels::Numerics::kInt8);
  const Linear linear = Load(*table, WeightFormat::kBcq);
  const auto num_calls = [this] {
    int64_t count = 0;
    for (const auto& [row, calls] : calls_) count += calls;
    return count;
  };
  const std::vector<uint8_t> descending = {4, 4, 3, 3, 2}, ascending = {4, 3, 4, 4, 2};
  const std::vector<float> as_prompt = Run(linear, 5, descending);
  EXPECT_EQ(Run(linear, 3, descending), as_prompt);
  EXPECT_EQ(num_calls(), 1);
  EXPECT_EQ(Run(linear, 0, descending), as_prompt);
  const std::vector<float> apart = Run(linear, 2, ascending);
  EXPECT_EQ(num_calls(), 2);
  // Rows 0 and 4 have the bits that they had above.
  EXPECT_TRUE(std::equal(apart.begin(), apart.begin() + kOut, as_prompt.begin()));
  EXPECT_TRUE(std::equal(apart.begin() + 4 * kOut, apart.end(), as_prompt.begin() + 4 * kOut));
  // Exact numerics have a class for each role.
  const auto exact = KernelTable::Create(DetectCpuFeatures(), "cpu_ref");
  (void)Run(Load(*exact, WeightFormat::kBcq), 3, descending);
  EXPECT_EQ(num_calls(), 2);
}

TEST_F(LinearChoiceTest, AForcedRowOfAnotherFormatIsNotUsed) {
  const auto table = KernelTable::Create(DetectCpuFeatures(), "cpu_ref", kernels::Numerics::kInt8,
                                         "bcq_linear_i8_lut4__ref");
  (void)Load(*table, WeightFormat::kDense);
  EXPECT_FALSE(table->CheckForcedRowsUsed(names_).ok());
  (void)Load(*table, WeightFormat::kBcq);
  EXPECT_TRUE(table->CheckForcedRowsUsed(names_).ok());
}

TEST_F(LinearChoiceTest, WithoutMeasurementsTheTablesOrderDecides) {
  const auto table = KernelTable::Create(DetectCpuFeatures(), "");
  const Linear linear = Load(*table, WeightFormat::kDense);
  for (int64_t count : kCounts) {
    (void)Run(linear, Role::kDecode, count);
    const auto* row = *table->Find(
        {.op = kernels::Op::kLinear, .weight_format = WeightFormat::kDense, .role = Role::kDecode},
        weights_.at(WeightFormat::kDense)->shape());
    EXPECT_EQ(calls_, (Counts{{row->name, 1}}));
  }
}

// A file says that calls of 8 rows and more are the second candidate's; nothing is timed then.
TEST_F(LinearChoiceTest, MeasuredRowsRunByRowCountWithOneResult) {
  testing::TempDir dir;
  const std::string path = dir / "choices.json";
  int num_compared = 0;
  using Case = std::pair<kernels::Numerics, WeightFormat>;
  for (const auto& [numerics, format] : {Case{kernels::Numerics::kExact, WeightFormat::kDense},
                                         Case{kernels::Numerics::kExact, WeightFormat::kBcq},
                                         Case{kernels::Numerics::kInt8, WeightFormat::kBcq},
                                         Case{kernels::Numerics::kInt8, WeightFormat::kInt8}}) {
    const auto table = KernelTable::Create(DetectCpuFeatures(), "", numerics);
    const kernels::KernelShape shape = weights_.at(format)->shape();
    std::map<Role, std::vector<const KernelRow*>> candidates;
    KernelChoices made = KernelChoices::Open(path, "this machine");
    for (Role role : {Role::kPrompt, Role::kDecode}) {
      candidates[role] = *table->Candidates(
          {.op = kernels::Op::kLinear, .weight_format = format, .role = role}, shape);
      const KernelRow* const first = candidates[role].front();
      (void)made.Choose(candidates[role], shape, pool_.num_threads(),
                        [first](const KernelRow& row, int64_t num_rows) {
                          return (num_rows < 8) == (&row == first) ? 1e-6 : 2e-6;
                        });
    }
    EXPECT_TRUE(made.Save().ok());
    KernelChoices read = KernelChoices::Open(path, "this machine");
    const Linear chosen = Load(*table, format, &read), plain = Load(*table, format);
    EXPECT_EQ(read.num_timed(), 0);
    for (Role role : {Role::kPrompt, Role::kDecode}) {
      if (candidates[role].size() < 2) continue;
      const std::string few = candidates[role][0]->name, many = candidates[role][1]->name;
      for (int64_t count : kCounts) {
        const std::vector<float> expected = Run(plain, role, count);
        const std::vector<float> y = Run(chosen, role, count);
        EXPECT_EQ(calls_, (Counts{{count < 8 ? few : many, 1}})) << count;
        EXPECT_EQ(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)), 0);
        ++num_compared;
      }
      // The scratch memory of what a step may run later is taken before the first one.
      (void)Run(chosen, role, 600, /*warms_up=*/true);
      EXPECT_EQ(calls_, (Counts{{few, 1}, {many, 1}}));
    }
  }
  if (num_compared == 0) GTEST_SKIP() << "SKIPPED: two rows of a class need AVX-512";
}

// Real times, whatever they are: a choice for both roles that runs, and both rows named.
TEST_F(LinearChoiceTest, MeasuringEndsWithRowsOfTheClass) {
  const auto table = KernelTable::Create(DetectCpuFeatures(), "");
  for (WeightFormat format : {WeightFormat::kDense, WeightFormat::kBcq}) {
    KernelChoices choices = KernelChoices::Open("", "");
    const Linear chosen = Load(*table, format, &choices), plain = Load(*table, format);
    for (Role role : {Role::kPrompt, Role::kDecode}) {
      for (int64_t count : kCounts) {
        const std::vector<float> y = Run(chosen, role, count), expected = Run(plain, role, count);
        EXPECT_EQ(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)), 0);
      }
    }
  }
}

}  // namespace
}  // namespace bitdial::engine
