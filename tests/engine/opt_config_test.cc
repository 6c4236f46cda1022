// config.json of an OPT: what is read, what is assumed where it is silent, what is refused.
#include <gtest/gtest.h>

#include "engine/models/opt/config.h"

namespace bitdial::engine {
namespace {

absl::StatusOr<OptConfig> Parse(const Json& change, const Json& generation = Json::object()) {
  Json json = Json::parse(
      R"({"vocab_size": 104, "hidden_size": 64, "ffn_dim": 96, "num_hidden_layers": 2,
          "num_attention_heads": 4, "eos_token_id": 2})");
  json.merge_patch(change);
  return ParseOptConfig(json, generation, "config.json");
}

TEST(OptConfig, Defaults) {
  const OptConfig config = Parse(Json::object()).value();
  EXPECT_EQ(config.embed_size, 64);
  EXPECT_FALSE(config.has_projections());
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.max_positions, 2048);
  EXPECT_EQ(config.activation, OptActivation::kRelu);
  EXPECT_TRUE(config.norm_before);
  EXPECT_TRUE(config.has_final_norm);
  EXPECT_TRUE(config.has_bias);
  EXPECT_TRUE(config.norms_are_affine);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.eos_ids, std::vector<int32_t>{2});
}

TEST(OptConfig, TheFinalNormGoesWithEitherKey) {
  EXPECT_FALSE(Parse({{"do_layer_norm_before", false}}).value().has_final_norm);
  EXPECT_FALSE(Parse({{"_remove_final_layer_norm", true}}).value().has_final_norm);
  EXPECT_TRUE(Parse({{"_remove_final_layer_norm", false}}).value().has_final_norm);
}

TEST(OptConfig, ReadsEveryTrait) {
  const OptConfig config = Parse({{"word_embed_proj_dim", 32},
                                  {"activation_function", "gelu"},
                                  {"enable_bias", false},
                                  {"layer_norm_elementwise_affine", false},
                                  {"tie_word_embeddings", false},
                                  {"max_position_embeddings", 8}},
                                 {{"eos_token_id", {2, 5}}})
                               .value();
  EXPECT_EQ(config.embed_size, 32);
  EXPECT_TRUE(config.has_projections());
  EXPECT_EQ(config.activation, OptActivation::kGelu);
  EXPECT_FALSE(config.has_bias);
  EXPECT_FALSE(config.norms_are_affine);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_EQ(config.max_positions, 8);
  EXPECT_EQ(config.eos_ids, (std::vector<int32_t>{2, 5}));
}

TEST(OptConfig, RefusesByName) {
  struct Case {
    Json change;
    absl::StatusCode code;
    const char* names;
  };
  const auto kBad = absl::StatusCode::kInvalidArgument,
             kNotBuilt = absl::StatusCode::kUnimplemented;
  const std::vector<Case> cases = {
      {{{"activation_function", "gelu_new"}}, kNotBuilt, "gelu_new"},
      {{{"activation_function", 1}}, kBad, "activation_function"},
      {{{"quantization_config", {{"quant_method", "gptq"}}}}, kNotBuilt, "gptq"},
      {{{"hidden_size", 66}}, kBad, "hidden_size 66"},
      {{{"hidden_size", nullptr}}, kBad, "hidden_size"},
      {{{"ffn_dim", nullptr}}, kBad, "ffn_dim"},
      {{{"ffn_dim", 1e9}}, kBad, "ffn_dim"},
      {{{"word_embed_proj_dim", 0}}, kBad, "word_embed_proj_dim"},
      {{{"num_attention_heads", 0}}, kBad, "num_attention_heads"},
      {{{"num_hidden_layers", 4000000000}}, kBad, "num_hidden_layers"},
      {{{"max_position_embeddings", 0}}, kBad, "max_position_embeddings"},
      {{{"max_position_embeddings", int64_t{1} << 62}}, kBad, "max_position_embeddings"},
      {{{"vocab_size", nullptr}}, kBad, "vocab_size"},
      {{{"eos_token_id", 104}}, kBad, "eos_token_id"},
      {{{"do_layer_norm_before", "no"}}, kBad, "do_layer_norm_before"},
      {{{"enable_bias", 1}}, kBad, "enable_bias"},
  };
  for (const Case& one : cases) {
    const absl::Status status = Parse(one.change).status();
    EXPECT_EQ(status.code(), one.code) << one.change << ": " << status;
    EXPECT_NE(std::string(status.message()).find(one.names), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace bitdial::engine
