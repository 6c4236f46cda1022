// Random models of a shape: they load as any quantized folder does, and are the same each time.
#include "quant/methods/synthetic/random_model.h"

#include <gmock/gmock.h>

#include <fstream>
#include <sstream>

#include "kernels/core/dtype.h"
#include "quant/container/checkpoint.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace bitdial::quant {
namespace {

using bitdial::testing::IsOk;
using bitdial::testing::StatusIs;
using bitdial::testing::TempDir;
using ::testing::HasSubstr;

const LlamaShape kTiny = {.name = "tiny",
                          .num_layers = 2,
                          .hidden_size = 128,
                          .intermediate_size = 192,
                          .num_heads = 4,
                          .num_kv_heads = 2,
                          .vocab_size = 300,
                          .max_positions = 64};

std::string ReadFile(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

TEST(RandomModelTest, LoadsWithEveryTensorAndBits) {
  const TempDir dir;
  QuantizeOptions options{.output = dir / "random", .bits = {2, 3}};
  ASSERT_THAT(WriteRandomModel(kTiny, options), IsOk());
  const auto checkpoint = Checkpoint::Open(options.output);
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_EQ((*checkpoint)->quantization()->max_bits, 3);
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    for (const char* module : {"mlp.down_proj", "mlp.gate_proj", "mlp.up_proj", "self_attn.k_proj",
                               "self_attn.o_proj", "self_attn.q_proj", "self_attn.v_proj"}) {
      const auto planes = (*checkpoint)->ReadBcq(layer + module);
      ASSERT_THAT(planes, IsOk());
      EXPECT_EQ(planes->scales.size(), 2u) << layer << module;
    }
  }
  EXPECT_TRUE((*checkpoint)->IsBcq("lm_head"));
  const auto norm = (*checkpoint)->ReadDense("model.norm.weight");
  ASSERT_THAT(norm, IsOk());
  EXPECT_EQ(F16ToF32(*reinterpret_cast<const uint16_t*>(norm->view.data)), 1.0f);
}

TEST(RandomModelTest, IsTheSameEachTime) {
  const TempDir dir;
  QuantizeOptions one{.output = dir / "one", .bits = {2, 2}};
  QuantizeOptions two{.output = dir / "two", .bits = {2, 2}};
  ASSERT_THAT(WriteRandomModel(kTiny, one), IsOk());
  ASSERT_THAT(WriteRandomModel(kTiny, two), IsOk());
  const std::string weights = ReadFile(one.output + "/model.safetensors");
  EXPECT_GT(weights.size(), 10'000u);
  EXPECT_EQ(weights, ReadFile(two.output + "/model.safetensors"));
  EXPECT_THAT(WriteRandomModel(kTiny, one), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("one")));
}

TEST(NamedShapeTest, KnowsShapesAndLayers) {
  const auto whole = ParseNamedShape("llama-1.1b");
  ASSERT_THAT(whole, IsOk());
  EXPECT_EQ(whole->num_layers, 22);
  EXPECT_EQ(whole->num_kv_heads, 4);
  const auto some = ParseNamedShape("llama-8b:8");
  ASSERT_THAT(some, IsOk());
  EXPECT_EQ(some->num_layers, 8);
  EXPECT_EQ(some->hidden_size, 4096);
  for (const char* bad : {"", "llama", "llama-8b:", "llama-8b:0", "llama-8b:33", "llama-8b:-1",
                          "llama-8b:8x", "llama-8b:99999999999999999999"}) {
    EXPECT_THAT(ParseNamedShape(bad).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("shape"))) << bad;
  }
}

}  // namespace
}  // namespace bitdial::quant
