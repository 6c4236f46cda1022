#include "quant/container/gguf_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numbers>
#include <string>
#include <vector>

#include "quant/container/checkpoint.h"
#include "quant/container/gguf_llama.h"
#include "quant/container/leftovers.h"
#include "quant/container/safetensors_file.h"
#include "tests/testing/gguf_builder.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace bitdial::quant {
namespace {

using absl::StatusCode;
using ::testing::AllOf;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

const std::string kGolden = std::string(BITDIAL_SOURCE_DIR) + "/tests/golden/gguf/";

std::vector<float> AsF32(const TensorView& view) {
  TensorView rows = view;
  if (view.shape.rank == 1) rows.shape = Shape{1, view.shape[0]};
  std::vector<float> values(static_cast<size_t>(view.shape.NumElements()));
  for (int64_t row = 0; row < rows.shape[0]; ++row)
    ReadRowAsF32(rows, row, values.data() + row * rows.shape[1]);
  return values;
}

// Names, shapes, row order and every value against the `gguf` package and transformers' loader, bit
// for bit.
TEST(GgufGoldenTest, TensorsEqualTheReference) {
  const auto checkpoint = Checkpoint::Open(kGolden + "tiny.gguf");
  ASSERT_THAT(checkpoint, IsOk());
  const auto expected = SafetensorsFile::Open(kGolden + "expected.safetensors");
  ASSERT_THAT(expected, IsOk());
  EXPECT_EQ((*checkpoint)->form(), CheckpointForm::kGguf);
  ASSERT_EQ((*checkpoint)->tensors().size(), (*expected)->entries().size());
  for (size_t i = 0; i < (*expected)->entries().size(); ++i) {
    const SafetensorsEntry& entry = (*expected)->entries()[i];
    EXPECT_EQ((*checkpoint)->tensors()[i].name, entry.name);
    EXPECT_EQ((*checkpoint)->tensors()[i].shape, entry.shape);
    const auto tensor = (*checkpoint)->ReadDense(entry.name);
    ASSERT_THAT(tensor, IsOk());
    EXPECT_EQ(tensor->view.shape, entry.shape);
    const std::vector<float> values = AsF32(tensor->view);
    ASSERT_EQ(values.size() * sizeof(float), entry.data.size());
    EXPECT_EQ(std::memcmp(values.data(), entry.data.data(), entry.data.size()), 0)
        << entry.name << " (" << (*checkpoint)->tensors()[i].type << ")";
  }
}

TEST(GgufGoldenTest, PlainTensorsAreViewsAndOnlyTheseAre) {
  const auto checkpoint = Checkpoint::Open(kGolden + "tiny.gguf");
  ASSERT_THAT(checkpoint, IsOk());
  const auto is_view = [&](const std::string& name) {
    return (*checkpoint)->ReadDense(name).value().storage.data() == nullptr;
  };
  EXPECT_TRUE(is_view("lm_head.weight"));                           // f16
  EXPECT_TRUE(is_view("model.layers.0.self_attn.o_proj.weight"));   // bf16
  EXPECT_TRUE(is_view("model.norm.weight"));                        // f32
  EXPECT_FALSE(is_view("model.layers.1.self_attn.q_proj.weight"));  // f16, rows reordered
  EXPECT_FALSE(is_view("model.layers.0.mlp.up_proj.weight"));       // Q4_0
}

TEST(GgufGoldenTest, ConfigEqualsTheReference) {
  const auto checkpoint = Checkpoint::Open(kGolden + "tiny.gguf");
  ASSERT_THAT(checkpoint, IsOk());
  const auto expected = ReadJsonFile(kGolden + "expected_config.json");
  ASSERT_THAT(expected, IsOk());
  EXPECT_EQ((*checkpoint)->config(), *expected);
  EXPECT_EQ((*checkpoint)->generation_config(),
            (Json{{"bos_token_id", 1}, {"eos_token_id", {2, 5}}}));
  EXPECT_EQ((*checkpoint)->tokenizer_path(), kGolden + "tiny.gguf");
  EXPECT_EQ((*checkpoint)->quantization(), nullptr);
}

// A model of one layer and one head of 4, to be spoilt.
GgufBuilder SmallModel() {
  GgufBuilder builder;
  builder.AddString("general.architecture", "llama")
      .AddU32("llama.block_count", 1)
      .AddU32("llama.context_length", 64)
      .AddU32("llama.embedding_length", 4)
      .AddU32("llama.feed_forward_length", 8)
      .AddU32("llama.attention.head_count", 1)
      .AddF32("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .AddTensor("token_embd.weight", {4, 6}, 0, std::string(96, '\0'));
  return builder;
}

absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const GgufBuilder& builder) {
  const std::string bytes = builder.Build();
  auto file = GgufFile::Parse(
      MappedFile::CopyOf(std::as_bytes(std::span(bytes.data(), bytes.size())), "m.gguf"));
  if (!file.ok()) return file.status();
  return GgufCheckpoint::FromFile(*std::move(file));
}

TEST(GgufCheckpointTest, FillsInWhatTheMetadataLeavesOut) {
  const auto checkpoint = Open(SmallModel());
  ASSERT_THAT(checkpoint, IsOk());
  const Json& config = (*checkpoint)->config();
  EXPECT_EQ(config["num_key_value_heads"], 1);
  EXPECT_EQ(config["head_dim"], 4);
  EXPECT_EQ(config["rope_theta"], 10000.0);
  EXPECT_EQ(config["rms_norm_eps"], 1e-5);  // not 9.99999974737875e-06
  EXPECT_EQ(config["vocab_size"], 6);
  EXPECT_EQ(config["tie_word_embeddings"], true);
  EXPECT_EQ(config["rope_scaling"], Json());
  EXPECT_EQ((*checkpoint)->generation_config(), Json::object());
}

TEST(GgufCheckpointTest, ReadsLinearRopeScaling) {
  const auto checkpoint = Open(SmallModel()
                                   .AddString("llama.rope.scaling.type", "linear")
                                   .AddF32("llama.rope.scaling.factor", 4));
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_EQ((*checkpoint)->config()["rope_scaling"],
            (Json{{"rope_type", "linear"}, {"factor", 4.0}}));
  const auto old_key = Open(SmallModel().AddF32("llama.rope.scale_linear", 2));
  ASSERT_THAT(old_key, IsOk());
  EXPECT_EQ((*old_key)->config()["rope_scaling"], (Json{{"rope_type", "linear"}, {"factor", 2.0}}));
}

TEST(GgufCheckpointTest, ReadsKvHeadsPerLayerWhenEqual) {
  const auto with_heads = [](uint32_t first, uint32_t second) {
    GgufBuilder builder;
    builder.AddString("general.architecture", "llama")
        .AddU32("llama.block_count", 2)
        .AddU32("llama.context_length", 64)
        .AddU32("llama.embedding_length", 8)
        .AddU32("llama.feed_forward_length", 8)
        .AddU32("llama.attention.head_count", 2)
        .AddArray("llama.attention.head_count_kv", 4, 2,
                  GgufBuilder::Bytes(first) + GgufBuilder::Bytes(second))
        .AddF32("llama.attention.layer_norm_rms_epsilon", 1e-5f)
        .AddTensor("token_embd.weight", {8, 6}, 0, std::string(192, '\0'));
    return Open(builder);
  };
  ASSERT_THAT(with_heads(1, 1), IsOk());
  EXPECT_EQ(with_heads(1, 1).value()->config()["num_key_value_heads"], 1);
  EXPECT_THAT(with_heads(1, 2), StatusIs(StatusCode::kUnimplemented, HasSubstr("KV heads")));
  EXPECT_THAT(with_heads(9, 9), StatusIs(StatusCode::kDataLoss, HasSubstr("head_count_kv")));
}

TEST(GgufCheckpointTest, RefusesOtherModels) {
  EXPECT_THAT(Open(GgufBuilder().AddString("general.architecture", "gpt2")),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("architecture \"gpt2\"")));
  EXPECT_THAT(Open(GgufBuilder()),
              StatusIs(StatusCode::kNotFound, HasSubstr("general.architecture")));
  EXPECT_THAT(Open(SmallModel().AddU32("llama.expert_count", 8)),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("experts")));
  EXPECT_THAT(Open(SmallModel().AddF32("llama.logit_scale", 2)),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("logit_scale")));
  EXPECT_THAT(Open(SmallModel().AddU32("llama.rope.dimension_count", 2)),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("rope.dimension_count")));
  EXPECT_THAT(Open(SmallModel().AddString("llama.rope.scaling.type", "yarn")),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("\"yarn\"")));
}

TEST(GgufCheckpointTest, RefusesTensorsItCannotPlace) {
  const std::string zeros(64, '\0');
  const auto with = [&](const char* name, const std::vector<uint64_t>& dims) {
    return Open(SmallModel().AddTensor(name, dims, 0, zeros));
  };
  EXPECT_THAT(with("blk.0.attn_q.weight", {4, 4}), IsOk());
  for (const char* name :
       {"blk.0.ffn_gate_inp.weight", "blk.00.attn_q.weight", "blk.-1.attn_q.weight",
        "blk..attn_q.weight", "blk.0attn_q.weight", "blk.0.attn_q.scale", "blk.0", "something"}) {
    EXPECT_THAT(with(name, {4, 4}), StatusIs(StatusCode::kUnimplemented, HasSubstr(name))) << name;
  }
  EXPECT_THAT(with("blk.0.attn_q.weight", {4, 2}),
              StatusIs(StatusCode::kDataLoss, HasSubstr("has 2 rows, expected 1 heads of 4")));
  EXPECT_THAT(with("blk.0.attn_q.weight", {4}),
              StatusIs(StatusCode::kDataLoss, HasSubstr("1 dimensions, expected 2")));
  EXPECT_THAT(with("blk.0.attn_norm.weight", {4, 4}),
              StatusIs(StatusCode::kDataLoss, HasSubstr("2 dimensions, expected 1")));
  EXPECT_THAT(Open(SmallModel().AddTensor("blk.0.ffn_up.bias", {32}, 8, std::string(34, '\0'))),
              StatusIs(StatusCode::kUnimplemented,
                       AllOf(HasSubstr("blk.0.ffn_up.bias"), HasSubstr("Q8_0"))));
}

TEST(GgufCheckpointTest, LayersBeyondTheBlockCountAreLeftovers) {
  const auto checkpoint =
      Open(SmallModel().AddTensor("blk.1.attn_q.weight", {4, 4}, 0, std::string(64, '\0')));
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_THAT(RefuseLeftovers(**checkpoint),
              StatusIs(StatusCode::kDataLoss, HasSubstr("m.gguf: 1 of 2 tensors are not read by "
                                                        "the model that its config describes, the "
                                                        "first is \"model.layers.1.self_attn.q")));
}

TEST(GgufCheckpointTest, RefusesBrokenMetadata) {
  EXPECT_THAT(Open(GgufBuilder().AddString("general.architecture", "llama")),
              StatusIs(StatusCode::kNotFound, HasSubstr("llama.block_count")));
  EXPECT_THAT(Open(SmallModel().AddU32("tokenizer.ggml.eos_token_id", 6)),
              StatusIs(StatusCode::kDataLoss, HasSubstr("eos_token_id")));
  EXPECT_THAT(Open(SmallModel().AddF32("llama.rope.freq_base", NAN)),
              StatusIs(StatusCode::kDataLoss, HasSubstr("freq_base")));
  EXPECT_THAT(Open(SmallModel().AddU32("llama.attention.head_count_kv", 2)),
              StatusIs(StatusCode::kDataLoss, HasSubstr("head_count_kv")));
  EXPECT_THAT(Open(SmallModel().AddU32("llama.attention.key_length", 3)),
              StatusIs(StatusCode::kDataLoss, HasSubstr("heads")));
  EXPECT_THAT(Open(SmallModel().AddTensor("rope_freqs.weight", {3}, 0, std::string(12, '\0'))),
              StatusIs(StatusCode::kDataLoss, HasSubstr("rope_freqs.weight")));
  EXPECT_THAT(Open(SmallModel().AddTensor("rope_freqs.weight", {2}, 0,
                                          GgufBuilder::Bytes(3.0f) + GgufBuilder::Bytes(1.0f))),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("rope_freqs.weight")));
}

// What llama.cpp's converter writes for a model with these parameters.
std::vector<float> RopeFactors(double theta, int head_dim, double factor, double low, double high,
                               double context) {
  std::vector<float> factors;
  for (int i = 0; i < head_dim; i += 2) {
    const double wavelength =
        2 * std::numbers::pi * std::pow(theta, static_cast<double>(i) / head_dim);
    const double smooth = (context / wavelength - low) / (high - low);
    factors.push_back(static_cast<float>(wavelength < context / high ? 1
                                         : wavelength > context / low
                                             ? factor
                                             : 1 / ((1 - smooth) / factor + smooth)));
  }
  return factors;
}

TEST(FitLlama3RopeScalingTest, RecoversThePublishedModels) {
  struct Model {
    double theta;
    int head_dim;
    double factor;
  };
  for (const Model& model :
       {Model{500000, 128, 8} /* Llama 3.1 */, Model{500000, 64, 32} /* Llama 3.2 1B */}) {
    const auto scaling = FitLlama3RopeScaling(
        RopeFactors(model.theta, model.head_dim, model.factor, 1, 4, 8192), model.theta);
    ASSERT_TRUE(scaling.has_value());
    EXPECT_EQ(*scaling, (Json{{"rope_type", "llama3"},
                              {"factor", model.factor},
                              {"low_freq_factor", 1.0},
                              {"high_freq_factor", 4.0},
                              {"original_max_position_embeddings", 8192}}));
  }
}

TEST(FitLlama3RopeScalingTest, UnusualParametersGiveTheSameFactorsBack) {
  for (const double high : {2.0, 3.0, 8.0}) {
    for (const double context : {1000.0, 6000.0}) {
      const std::vector<float> factors = RopeFactors(500000, 128, 4, 1, high, context);
      const auto scaling = FitLlama3RopeScaling(factors, 500000);
      ASSERT_TRUE(scaling.has_value()) << high << " " << context;
      const std::vector<float> again = RopeFactors(
          500000, 128, (*scaling)["factor"], (*scaling)["low_freq_factor"],
          (*scaling)["high_freq_factor"], (*scaling)["original_max_position_embeddings"]);
      for (size_t i = 0; i < factors.size(); ++i)
        EXPECT_NEAR(again[i], factors[i], 1e-5 * factors[i]) << i;
    }
  }
}

TEST(FitLlama3RopeScalingTest, RefusesOtherFactors) {
  EXPECT_FALSE(FitLlama3RopeScaling({}, 10000).has_value());
  std::vector<float> factors = RopeFactors(500000, 128, 8, 1, 4, 8192);
  factors[31] *= 1.001f;
  EXPECT_FALSE(FitLlama3RopeScaling(factors, 500000).has_value());
  factors[31] = NAN;
  EXPECT_FALSE(FitLlama3RopeScaling(factors, 500000).has_value());
  factors[31] = 0;
  EXPECT_FALSE(FitLlama3RopeScaling(factors, 500000).has_value());
}

}  // namespace
}  // namespace bitdial::quant
