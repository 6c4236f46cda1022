// The OPT pass against Hugging Face transformers (tests/golden/make_opt_golden.py).
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "tests/testing/loaded_model.h"
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

class TinyOpt : public ::testing::TestWithParam<const char*> {};

// 1e-4 of the largest logit. The goldens' own float32 rounding is below 1e-6 of it (MANIFEST.json),
// and a trait that is overlooked moves them by a tenth of it at least.
TEST_P(TinyOpt, LogitsAgreeWithTransformers) {
  const std::string folder = GoldenPath(std::string("opt/") + GetParam());
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

INSTANTIATE_TEST_SUITE_P(Variants, TinyOpt,
                         ::testing::Values("pre_norm_f16", "post_norm_proj_f32",
                                           "pre_norm_proj_bf16", "no_final_norm_f16",
                                           "plain_gelu_f32"),
                         [](const auto& variant) { return std::string(variant.param); });

TEST(OptPlanes, LogitsAgreeAtEveryBits) {
  const std::string folder = GoldenPath("opt/planes_f16");
  const Json tokens = ReadJson(folder + "/tokens.json");
  const auto prompt = tokens["input_ids"].get<std::vector<int32_t>>();
  for (const char* backend : {"cpu_ref", ""}) {
    LoadedModel loaded(folder, kF32, backend);
    EXPECT_EQ(loaded.model->info().bits, (std::vector<int>{2, 3, 4}));
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

TEST(OptInfo, IsHonest) {
  const LoadedModel loaded(GoldenPath("opt/post_norm_proj_f32"), kF32);
  const ModelInfo& info = loaded.model->info();
  EXPECT_EQ(info.architecture, "OPTForCausalLM");
  EXPECT_EQ(info.bits, std::vector<int>{0});
  EXPECT_EQ(info.vocab_size, 104);
  EXPECT_EQ(info.hidden_size, 32);
  EXPECT_EQ(info.max_context, 72);  // the positions, without the two rows that are never used
  EXPECT_EQ(info.eos_ids, std::vector<int32_t>{2});
  EXPECT_EQ(info.kv_bytes_per_token, 2 * 2 * 32 * 4);
  const int64_t layer = 4 * (32 * 32 + 32) + 2 * 2 * 32 + (70 * 32 + 70) + (32 * 70 + 32);
  EXPECT_EQ(info.num_parameters, 104 * 24 + 2 * 24 * 32 + 74 * 32 + 2 * layer);
  EXPECT_EQ(info.weight_bytes, 4 * info.num_parameters);
}

}  // namespace
}  // namespace bitdial::engine
