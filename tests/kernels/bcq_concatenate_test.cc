// A fused weight computes each output as its part alone does, bit for bit.
#include "kernels/formats/bcq/concatenate.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <random>

#include "kernels/formats/bcq/rows.h"
#include "kernels/kernel_table.h"
#include "tests/kernels/bcq_random.h"

namespace bitdial::kernels {
namespace {

constexpr int64_t kIn = 256;

std::vector<float> Outputs(const KernelRow& row, const BcqWeight& weight, const std::vector<float>& x,
                       const std::vector<uint8_t>& bits, int num_threads) {
  ThreadPool pool(num_threads);
  Stream stream(pool);
  const auto num_rows = static_cast<int64_t>(bits.size());
  std::vector<float> y(static_cast<size_t>(num_rows * weight.out_features));
  std::get<LinearFn>(row.fn)({.bcq = &weight,
                              .x = MakeMatrix<const float>(x.data(), num_rows, kIn),
                              .y = MakeMatrix(y.data(), num_rows, weight.out_features),
                              .bits = bits.data()},
                             stream);
  return y;
}

TEST(BcqConcatenateTest, OutputsAreThoseOfTheParts) {
  const KernelTable table = KernelTable::Create(DetectCpuFeatures(), "").value();
  ThreadPool pool(1);
  std::vector<BcqWeight> parts;
  int64_t total = 0;
  // The last part need not fill its tile; one has no beta.
  for (const auto& [out, with_beta, seed] : {std::tuple{int64_t{128}, true, 1u},
                                             std::tuple{int64_t{64}, false, 2u},
                                             std::tuple{int64_t{70}, true, 3u}}) {
    const RandomBcq random({.in_features = kIn, .out_features = out, .group_size = 64,
                            .max_bits = 4, .sets = {2, 3, 4}, .with_beta = with_beta, .seed = seed});
    parts.push_back(PrepareForEveryRow(random.canonical, pool));
    total += out;
  }
  const std::vector<const BcqWeight*> views = {&parts[0], &parts[1], &parts[2]};
  ASSERT_TRUE(CanConcatenate(views));
  const auto whole = Concatenate(views);
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(whole->out_features, total);

  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  const std::vector<uint8_t> bits = {4, 4, 3, 2, 2};
  std::vector<float> x(bits.size() * kIn);
  for (float& value : x) value = normal(random);
  int num_kernels = 0;
  for (const KernelRow& row : BcqRows()) {
    if (row.key.op != Op::kLinear || !table.IsRunnable(row)) continue;
    ++num_kernels;
    const std::vector<float> together = Outputs(row, *whole, x, bits, 2);
    int64_t begin = 0;
    for (const BcqWeight& part : parts) {
      const std::vector<float> alone = Outputs(row, part, x, bits, 1);
      for (size_t r = 0; r < bits.size(); ++r) {
        const auto count = static_cast<size_t>(part.out_features);
        EXPECT_EQ(std::memcmp(&together[r * static_cast<size_t>(total) + static_cast<size_t>(begin)],
                              &alone[r * count], count * sizeof(float)),
                  0)
            << row.name << ", row " << r << ", outputs from " << begin;
      }
      begin += part.out_features;
    }
  }
  EXPECT_GE(num_kernels, 3);
}

TEST(BcqConcatenateTest, OtherFormsStayApart) {
  ThreadPool pool(1);
  const RandomBcqOptions base = {.in_features = kIn, .out_features = 64, .group_size = 64,
                                 .max_bits = 4, .sets = {2, 4}};
  const auto prepare = [&](RandomBcqOptions options) {
    const RandomBcq random(options);
    return PrepareBcq(random.canonical, pool).value();
  };
  const BcqWeight weight = prepare(base);
  const auto fits = [&](const BcqWeight& first, const BcqWeight& second) {
    const std::vector<const BcqWeight*> both = {&first, &second};
    return CanConcatenate(both);
  };
  EXPECT_TRUE(fits(weight, weight));
  auto other = base;
  other.group_size = 32;
  EXPECT_FALSE(fits(weight, prepare(other)));
  other = base;
  other.sets = {2, 3, 4};
  EXPECT_FALSE(fits(weight, prepare(other)));
  other = base;
  other.max_bits = 3;
  other.sets = {2, 3};
  EXPECT_FALSE(fits(weight, prepare(other)));
  other = base;
  other.in_features = 128;
  EXPECT_FALSE(fits(weight, prepare(other)));
  other = base;
  other.out_features = 65;
  EXPECT_TRUE(fits(weight, prepare(other)));   // a tail may come last,
  EXPECT_FALSE(fits(prepare(other), weight));  // and nowhere else
  EXPECT_FALSE(CanConcatenate({}));
}

}  // namespace
}  // namespace bitdial::kernels
