// The Llama pass against other people's numbers: Hugging Face transformers (tests/golden) and
// llama2.c (shared data).
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "engine/sampler/softmax.h"
#include "tests/testing/loaded_model.h"
#include "tests/testing/shared_data.h"
#include "tests/testing/worst_cell.h"

namespace bitdial::engine {
namespace {

using testing::Compare;
using testing::GoldenPath;
using testing::LoadedModel;
using testing::ModelRunner;
using testing::ReadFloats;
using testing::ReadJson;
using testing::Worst;

constexpr ModelOptions kF32{.kv_format = kernels::KvFormat::kF32};

class TinyLlama : public ::testing::TestWithParam<const char*> {};

// 1e-4 of the largest logit. The goldens' own float32 rounding is 1e-6 of it (MANIFEST.json).
TEST_P(TinyLlama, LogitsAgreeWithTransformers) {
  const std::string folder = GoldenPath(std::string("llama/") + GetParam());
  const Json tokens = ReadJson(folder + "/tokens.json");
  const auto prompt = tokens["input_ids"].get<std::vector<int32_t>>();
  for (const char* backend : {"cpu_ref", ""}) {
    LoadedModel loaded(folder, kF32, backend);
    EXPECT_TRUE(CheckModel(*loaded.checkpoint).ok()) << CheckModel(*loaded.checkpoint);
    ModelRunner runner(loaded);
    const Worst worst = Compare(runner.PromptLogits(prompt, 0), ReadFloats(folder + "/logits.f32"));
    std::printf("%s on %s: worst %.3g of %.3g at cell %zu\n", GetParam(),
                loaded.model->info().backend.c_str(), worst.error, worst.scale, worst.cell);
    EXPECT_LE(worst.error, 1e-4 * worst.scale);
    EXPECT_EQ(runner.Greedy(prompt, 0, 16), tokens["greedy_ids"].get<std::vector<int32_t>>());
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, TinyLlama,
                         ::testing::Values("mha_untied_f32", "gqa_tied_f16", "gqa_bias_f32",
                                           "rope_linear_f32", "rope_llama3_bf16", "head_dim_bf16",
                                           "sharded_f16"),
                         [](const auto& variant) { return std::string(variant.param); });

TEST(TinyLlamaOptions, ExtraEosIdsJoinTheConfigs) {
  const std::string folder = GoldenPath("llama/mha_untied_f32");
  const std::vector<int32_t> own = LoadedModel(folder).model->info().eos_ids;
  std::vector<int32_t> want = own;
  want.push_back(7);
  const ModelOptions options{.extra_eos_ids = {own.empty() ? 7 : own[0], 7, -1, 1 << 20}};
  EXPECT_EQ(LoadedModel(folder, options).model->info().eos_ids,
            want);  // no doubles, none outside the vocabulary
}

// A checkpoint in the published AnyBCQ layout, q_bias full of NaN, written by a script that shares
// no code with us.
TEST(AnyBcqRelease, LogitsAgreeAtEveryBits) {
  const std::string folder = GoldenPath("anybcq_release");
  const Json tokens = ReadJson(folder + "/tokens.json");
  const auto prompt = tokens["input_ids"].get<std::vector<int32_t>>();
  for (const char* backend : {"cpu_ref", ""}) {
    LoadedModel loaded(folder, kF32, backend);
    EXPECT_EQ(loaded.model->info().bits, (std::vector<int>{2, 3, 4}));
    EXPECT_EQ(loaded.model->info().default_bits, 4);
    ModelRunner runner(loaded);
    for (int bits : {2, 3, 4}) {
      const std::string key = std::to_string(bits);
      const Worst worst = Compare(runner.PromptLogits(prompt, bits),
                                  ReadFloats(folder + "/logits_" + key + ".f32"));
      std::printf("%d bits on %s: worst %.3g of %.3g\n", bits, loaded.model->info().backend.c_str(),
                  worst.error, worst.scale);
      EXPECT_LE(worst.error, 1e-4 * worst.scale) << bits;
      EXPECT_EQ(runner.Greedy(prompt, bits, 16),
                tokens["greedy_ids"][key].get<std::vector<int32_t>>());
    }
  }
}

class Stories260K : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto model = testing::SharedData("models/stories260K-hf");
    const auto vectors = testing::SharedData("vectors/stories260K");
    if (!model || !vectors) GTEST_SKIP() << "SKIPPED: stories260K needs shared data";
    loaded_ = std::make_unique<LoadedModel>(*model, kF32);
    golden_ = ReadJson(*vectors + "/golden.json");
    logits_ = ReadFloats(*vectors + "/greedy_bos_logits_200x512.f32");
  }
  std::unique_ptr<LoadedModel> loaded_;
  Json golden_;
  std::vector<float> logits_;  // [200, 512]
};

TEST_F(Stories260K, GreedyFromBosGivesTheLogitsOfLlama2c) {
  ModelRunner runner(*loaded_);
  std::vector<float> logits;
  const std::vector<int32_t> ids = runner.Greedy({1}, 0, 200, &logits);
  EXPECT_EQ(ids, golden_["cases"][0]["greedy_ids"].get<std::vector<int32_t>>());
  const Worst worst = Compare(logits, logits_);
  std::printf("200 x 512 decoded logits: worst %.3g of %.3g at step %zu\n", worst.error,
              worst.scale, worst.cell / 512);
  EXPECT_LE(worst.error, 1e-3);
}

TEST_F(Stories260K, TheSameTokensAsOnePromptGiveTheSameLogits) {
  ModelRunner runner(*loaded_);
  std::vector<int32_t> tokens = golden_["cases"][0]["greedy_ids"].get<std::vector<int32_t>>();
  tokens.insert(tokens.begin(), 1);
  tokens.pop_back();
  const Worst worst = Compare(runner.PromptLogits(tokens, 0), logits_);
  std::printf("200 x 512 prompt logits: worst %.3g of %.3g\n", worst.error, worst.scale);
  EXPECT_LE(worst.error, 1e-3);
}

TEST_F(Stories260K, GreedyFromEveryPrompt) {
  ModelRunner runner(*loaded_);
  for (const Json& one : golden_["cases"]) {
    const auto want = one["greedy_ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(runner.Greedy(one["prompt_ids"].get<std::vector<int32_t>>(), 0,
                            static_cast<int>(want.size())),
              want)
        << one["prompt"];
  }
}

TEST_F(Stories260K, InfoIsHonest) {
  const ModelInfo& info = loaded_->model->info();
  EXPECT_EQ(info.bits, std::vector<int>{0});
  EXPECT_EQ(info.num_parameters, 260032);  // 64*512 + 5*(2*64 + 2*64*64 + 2*64*32 + 3*64*172) + 64
  EXPECT_EQ(info.weight_bytes, 4 * 260032);
  EXPECT_EQ(info.kv_bytes_per_token, 5 * 2 * 4 * 8 * 4);
  EXPECT_EQ(info.max_context, 512);
  EXPECT_EQ(info.eos_ids, std::vector<int32_t>{2});
}

}  // namespace
}  // namespace bitdial::engine
