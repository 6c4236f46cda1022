// config.json of a Llama: what is read, what is refused, and the rotary angles.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "engine/models/llama/config.h"

namespace bitdial::engine {
namespace {

Json Base() {
  return Json::parse(
      R"({"vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
                         "num_attention_heads": 4, "max_position_embeddings": 128, "eos_token_id": 2})");
}

absl::StatusOr<LlamaConfig> Parse(const Json& change, const Json& generation = Json::object()) {
  Json json = Base();
  json.merge_patch(change);
  return ParseLlamaConfig(json, generation, "config.json");
}

TEST(LlamaConfig, Defaults) {
  const LlamaConfig config = Parse(Json::object()).value();
  EXPECT_EQ(config.num_kv_heads, 4);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_FLOAT_EQ(config.rms_norm_eps, 1e-6f);
  EXPECT_EQ(config.rope.theta, 10000.0);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_FALSE(config.attention_bias);
  EXPECT_FALSE(config.mlp_bias);
  EXPECT_EQ(config.eos_ids, std::vector<int32_t>{2});
}

TEST(LlamaConfig, GenerationConfigHasTheLastWordOnEos) {
  EXPECT_EQ(Parse(Json::object(), {{"eos_token_id", {2, 5}}}).value().eos_ids,
            (std::vector<int32_t>{2, 5}));
  EXPECT_TRUE(Parse({{"eos_token_id", nullptr}}).value().eos_ids.empty());
}

TEST(LlamaConfig, RefusesByName) {
  struct Case {
    Json change;
    absl::StatusCode code;
    const char* names;
  };
  const auto kBad = absl::StatusCode::kInvalidArgument,
             kNotBuilt = absl::StatusCode::kUnimplemented;
  const std::vector<Case> cases = {
      {{{"hidden_act", "gelu"}}, kNotBuilt, "gelu"},
      {{{"rope_scaling", {{"type", "yarn"}, {"factor", 2.0}}}}, kNotBuilt, "yarn"},
      {{{"rope_parameters", {{"rope_type", "longrope"}}}}, kNotBuilt, "longrope"},
      {{{"quantization_config", {{"quant_method", "gptq"}}}}, kNotBuilt, "gptq"},
      {{{"partial_rotary_factor", 0.5}}, kNotBuilt, "partial_rotary_factor"},
      {{{"rope_scaling", {{"type", "linear"}}}}, kBad, "factor"},
      {{{"rope_scaling", {{"type", "linear"}, {"factor", -1}}}}, kBad, "factor"},
      {{{"hidden_size", 66}}, kBad, "hidden_size"},
      {{{"hidden_size", 64.5}}, kBad, "hidden_size"},
      {{{"hidden_size", "64"}}, kBad, "hidden_size"},
      {{{"num_key_value_heads", 3}}, kBad, "num_key_value_heads"},
      {{{"num_key_value_heads", 8}}, kBad, "num_key_value_heads"},
      {{{"head_dim", 15}}, kBad, "head_dim"},
      {{{"num_hidden_layers", 0}}, kBad, "num_hidden_layers"},
      {{{"num_hidden_layers", 4000000000}}, kBad, "num_hidden_layers"},
      {{{"vocab_size", nullptr}}, kBad, "vocab_size"},
      {{{"eos_token_id", 96}}, kBad, "eos_token_id"},
      {{{"rms_norm_eps", -1}}, kBad, "rms_norm_eps"},
  };
  for (const Case& one : cases) {
    const absl::Status status = Parse(one.change).status();
    EXPECT_EQ(status.code(), one.code) << one.change << ": " << status;
    EXPECT_NE(std::string(status.message()).find(one.names), std::string::npos) << status;
  }
}

TEST(Rope, LinearDividesEveryAngle) {
  const LlamaConfig config =
      Parse({{"rope_scaling", {{"type", "linear"}, {"factor", 4.0}}}}).value();
  const std::vector<double> scaled = RopeInverseFrequencies(config.rope, 16);
  const std::vector<double> plain = RopeInverseFrequencies(RopeConfig{}, 16);
  ASSERT_EQ(plain.size(), 8u);
  EXPECT_DOUBLE_EQ(plain[0], 1.0);
  EXPECT_DOUBLE_EQ(plain[4], 0.01);
  for (size_t c = 0; c < 8; ++c) EXPECT_DOUBLE_EQ(scaled[c], plain[c] / 4);
}

// The three bands as transformers writes them, in wavelengths.
TEST(Rope, Llama3KeepsShortDividesLongAndBlendsBetween) {
  const LlamaConfig config = Parse({{"rope_theta", 500000.0},
                                    {"rope_scaling",
                                     {{"rope_type", "llama3"},
                                      {"factor", 8.0},
                                      {"low_freq_factor", 1.0},
                                      {"high_freq_factor", 4.0},
                                      {"original_max_position_embeddings", 8192}}}})
                                 .value();
  RopeConfig plain;
  plain.theta = 500000.0;
  const std::vector<double> got = RopeInverseFrequencies(config.rope, 128);
  const std::vector<double> base = RopeInverseFrequencies(plain, 128);
  int kept = 0, divided = 0, blended = 0;
  for (size_t c = 0; c < got.size(); ++c) {
    const double wavelength = 2 * std::numbers::pi / base[c];
    if (wavelength < 8192 / 4.0) {
      EXPECT_DOUBLE_EQ(got[c], base[c]);
      ++kept;
    } else if (wavelength > 8192 / 1.0) {
      EXPECT_DOUBLE_EQ(got[c], base[c] / 8);
      ++divided;
    } else {
      const double smooth = (8192 / wavelength - 1) / 3;
      EXPECT_NEAR(got[c], (1 - smooth) * base[c] / 8 + smooth * base[c], 1e-15);
      ++blended;
    }
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(divided, 0);
  EXPECT_GT(blended, 0);
}

}  // namespace
}  // namespace bitdial::engine
