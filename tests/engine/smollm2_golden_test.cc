// SmolLM2-135M-Instruct, a real model in a Q4_1 GGUF, against transformers' own GGUF loader
// (tests/golden/make_smollm2_golden.py).
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "tests/testing/loaded_model.h"
#include "tests/testing/shared_data.h"
#include "tests/testing/worst_cell.h"

namespace bitdial::engine {
namespace {

using testing::GoldenPath;

// Ids whose best logit leads by less than this may fall either way with another order of summation.
constexpr double kSafeMargin = 0.02;

class SmolLm2Golden : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto path = testing::SmolLm2();
    if (!path) GTEST_SKIP() << "SKIPPED: real-model logits need SmolLM2";
    loaded_ = std::make_unique<testing::LoadedModel>(
        *path, ModelOptions{.kv_format = kernels::KvFormat::kF32, .max_context = 512});
    golden_ = testing::ReadJson(GoldenPath("smollm2/prompts.json"));
  }
  std::unique_ptr<testing::LoadedModel> loaded_;
  Json golden_;
};

// 1e-3 of the largest logit, on the 256 best and on a comb of 1024 ids.
TEST_F(SmolLm2Golden, LastLogitsAgreeWithTransformers) {
  const std::vector<float> top = testing::ReadFloats(GoldenPath("smollm2/top_logits.f32"));
  const std::vector<float> comb = testing::ReadFloats(GoldenPath("smollm2/strided_logits.f32"));
  const size_t num_top = golden_["top"], stride = golden_["stride"];
  const size_t num_comb = golden_["vocab_size"].get<size_t>() / stride;
  testing::ModelRunner runner(*loaded_);
  size_t index = 0;
  for (const Json& prompt : golden_["prompts"]) {
    std::vector<float> logits;
    runner.Greedy(prompt["input_ids"].get<std::vector<int32_t>>(), 0, 1, &logits);
    ASSERT_EQ(logits.size(), golden_["vocab_size"].get<size_t>());
    double worst = 0;
    const auto compare = [&](size_t id, float want) {
      worst = std::max(worst, testing::ErrorOf(logits[id], want));
    };
    for (size_t i = 0; i < num_top; ++i) compare(prompt["top_ids"][i], top[index * num_top + i]);
    for (size_t i = 0; i < num_comb; ++i) compare(i * stride, comb[index * num_comb + i]);
    const double largest = prompt["max_abs_logit"];
    std::printf("prompt %zu: worst %.3g of %.4g (%.2g of it)\n", index, worst, largest,
                worst / largest);
    EXPECT_LE(worst, 1e-3 * largest) << prompt["text"];
    ++index;
  }
  EXPECT_EQ(index, 5u);
}

TEST_F(SmolLm2Golden, GreedyContinuationsAgree) {
  testing::ModelRunner runner(*loaded_);
  for (const Json& prompt : golden_["prompts"]) {
    const auto want = prompt["greedy_ids"].get<std::vector<int32_t>>();
    const auto margins = prompt["greedy_margins"].get<std::vector<double>>();
    const std::vector<int32_t> got = runner.Greedy(prompt["input_ids"].get<std::vector<int32_t>>(),
                                                   0, static_cast<int>(want.size()));
    for (size_t i = 0; i < want.size() && margins[i] >= kSafeMargin; ++i) {
      ASSERT_EQ(got[i], want[i]) << prompt["text"] << " token " << i;
    }
  }
}

}  // namespace
}  // namespace bitdial::engine
