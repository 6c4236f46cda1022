#include "quant/container/leftovers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/testing/status_matchers.h"

namespace bitdial::quant {
namespace {

using absl::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::StatusIs;

// Names, shapes and a config are all that leftovers follow from.
class NamesOnly : public Checkpoint {
 public:
  NamesOnly(const Json& config, std::vector<TensorInfo> tensors) : tensors_(std::move(tensors)) {
    path_ = "model";
    config_ = {{"architectures", {"LlamaForCausalLM"}}, {"num_hidden_layers", 2}};
    config_.update(config);
    std::sort(tensors_.begin(), tensors_.end(),
              [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  }
  CheckpointForm form() const override { return CheckpointForm::kHuggingFace; }
  std::string tokenizer_path() const override { return path_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  absl::StatusOr<DenseTensor> ReadDense(const std::string& name) const override {
    return NotFound("{}", name);
  }

 private:
  std::vector<TensorInfo> tensors_;
};

std::vector<TensorInfo> Named(const std::vector<std::string>& names) {
  std::vector<TensorInfo> tensors;
  for (const std::string& name : names) tensors.push_back({name, {32, 32}, "f32", 4096});
  return tensors;
}

// The leftovers of a dense model of two layers with this tensor.
std::vector<std::string> LeftoversWith(const std::string& name,
                                       const Json& config = Json::object()) {
  return FindLeftovers(NamesOnly(config, Named({"model.norm.weight", name}))).value();
}

TEST(FindLeftoversTest, GoldenModelsHaveNone) {
  int num_models = 0;
  const std::string golden = std::string(BITDIAL_SOURCE_DIR) + "/tests/golden/";
  std::vector<std::string> paths = {golden + "anybcq_release", golden + "gguf/tiny.gguf"};
  for (const char* family : {"llama", "opt"}) {
    for (const auto& entry : std::filesystem::directory_iterator(golden + family)) {
      if (entry.is_directory()) paths.push_back(entry.path().string());
    }
  }
  for (const std::string& path : paths) {
    const auto checkpoint = Checkpoint::Open(path);
    ASSERT_THAT(checkpoint, IsOk());
    EXPECT_THAT(FindLeftovers(**checkpoint).value(), IsEmpty()) << path;
    ++num_models;
  }
  EXPECT_GE(num_models, 15);
}

TEST(FindLeftoversTest, AreWhatNoLayerReads) {
  for (const char* name :
       {"model.layers.2.mlp.up_proj.weight", "model.layers.02.mlp.up_proj.weight",
        "model.layers.-1.mlp.up_proj.weight", "model.layers.99999999999999999999.x.weight",
        "model.layers.1.self_attn.q_norm.weight", "model.layers.1.mlp.up_proj.scale",
        "model.layers.1.mlp.up_proj", "model.layers.1.input_layernorm.bias", "model.layers.1",
        "model.norm.bias", "model.embed_tokens.bias", "lm_head.bias", "score.weight", "x", "",
        "."}) {
    EXPECT_THAT(LeftoversWith(name), ElementsAre(name));
  }
  for (const char* name :
       {"model.layers.0.mlp.up_proj.weight", "model.layers.1.self_attn.o_proj.weight",
        "model.layers.1.post_attention_layernorm.weight", "model.embed_tokens.weight",
        "lm_head.weight"}) {
    EXPECT_THAT(LeftoversWith(name), IsEmpty()) << name;
  }
}

TEST(FindLeftoversTest, BiasesAreReadWhereTheConfigSaysSo) {
  const std::string attention = "model.layers.0.self_attn.q_proj.bias";
  const std::string mlp = "model.layers.0.mlp.down_proj.bias";
  EXPECT_THAT(LeftoversWith(attention), ElementsAre(attention));
  EXPECT_THAT(LeftoversWith(attention, {{"mlp_bias", true}}), ElementsAre(attention));
  EXPECT_THAT(LeftoversWith(attention, {{"attention_bias", true}}), IsEmpty());
  EXPECT_THAT(LeftoversWith(mlp), ElementsAre(mlp));
  EXPECT_THAT(LeftoversWith(mlp, {{"mlp_bias", true}}), IsEmpty());
}

TEST(FindLeftoversTest, WhatMeansNothingPasses) {
  EXPECT_THAT(LeftoversWith("model.layers.1.self_attn.rotary_emb.inv_freq"), IsEmpty());
  EXPECT_THAT(LeftoversWith("lm_head.bias", {{"tie_word_embeddings", true}}), IsEmpty());
}

TEST(FindLeftoversTest, PlanesAndTheirScalesBelongTogether) {
  const std::string prefix = "model.layers.0.mlp.up_proj.";
  std::vector<TensorInfo> tensors = {{prefix + "qweight", {1, 3, 32}, "i32", 384}};
  for (const char* kind : {"alpha_2", "alpha_3", "beta_2", "beta_3", "q_bias"})
    tensors.push_back({prefix + kind, {1, 3, 32}, "f16", 192});
  EXPECT_THAT(FindLeftovers(NamesOnly(Json::object(), tensors)).value(), IsEmpty());
  for (const char* kind : {"alpha_4", "beta_9", "alpha_0", "alpha_", "weight"}) {
    std::vector<TensorInfo> more = tensors;
    more.push_back({prefix + kind, {1, 3, 32}, "f16", 192});
    EXPECT_THAT(FindLeftovers(NamesOnly(Json::object(), more)).value(), ElementsAre(prefix + kind));
  }
  EXPECT_THAT(LeftoversWith(prefix + "alpha_2"), ElementsAre(prefix + "alpha_2"));  // no planes
}

TEST(FindLeftoversTest, OptReadsWhatItsConfigSays) {
  const auto leftover = [](const std::string& name, const Json& change) {
    Json config = {{"architectures", {"OPTForCausalLM"}}, {"hidden_size", 32}};
    config.update(change);
    const NamesOnly checkpoint(config, Named({"model.decoder.embed_positions.weight", name}));
    return FindLeftovers(checkpoint).value() == std::vector<std::string>{name};
  };
  const std::string decoder = "model.decoder.", layer = decoder + "layers.1.";
  EXPECT_FALSE(leftover(layer + "fc1.bias", Json::object()));
  EXPECT_TRUE(leftover(layer + "fc1.bias", {{"enable_bias", false}}));
  EXPECT_FALSE(leftover(layer + "final_layer_norm.bias", Json::object()));
  EXPECT_TRUE(
      leftover(layer + "final_layer_norm.bias", {{"layer_norm_elementwise_affine", false}}));
  EXPECT_FALSE(leftover(decoder + "final_layer_norm.weight", Json::object()));
  EXPECT_TRUE(leftover(decoder + "final_layer_norm.weight", {{"do_layer_norm_before", false}}));
  EXPECT_FALSE(leftover(decoder + "final_layer_norm.weight", {{"_remove_final_layer_norm", true}}));
  EXPECT_TRUE(leftover(decoder + "project_in.weight", Json::object()));
  EXPECT_FALSE(leftover(decoder + "project_in.weight", {{"word_embed_proj_dim", 16}}));
  EXPECT_TRUE(leftover(decoder + "layers.2.fc1.weight", Json::object()));
  EXPECT_TRUE(leftover("model.layers.1.mlp.up_proj.weight", Json::object()));
  EXPECT_TRUE(leftover("decoder.embed_tokens.weight", Json::object()));
  EXPECT_FALSE(leftover("lm_head.weight", Json::object()));
}

TEST(FindLeftoversTest, KnowsNothingOfOtherArchitectures) {
  EXPECT_THAT(LeftoversWith("x", {{"architectures", {"MambaForCausalLM"}}}), IsEmpty());
}

TEST(RefuseLeftoversTest, NamesTheFirstAndTheNumber) {
  EXPECT_THAT(RefuseLeftovers(NamesOnly(Json::object(), Named({"model.norm.weight"}))), IsOk());
  EXPECT_THAT(RefuseLeftovers(NamesOnly(Json::object(), Named({"b", "model.norm.weight", "a"}))),
              StatusIs(StatusCode::kDataLoss, HasSubstr("model: 2 of 3 tensors are not read by the "
                                                        "model that its config describes, the "
                                                        "first is \"a\"")));
  EXPECT_THAT(RefuseLeftovers(NamesOnly({{"num_hidden_layers", "2"}}, {})),
              StatusIs(StatusCode::kDataLoss, HasSubstr("num_hidden_layers")));
}

}  // namespace
}  // namespace bitdial::quant
