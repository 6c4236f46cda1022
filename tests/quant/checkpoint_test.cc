#include "quant/container/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "quant/container/safetensors_writer.h"
#include "tests/testing/shared_data.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace bitdial::quant {
namespace {

using absl::StatusCode;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::SharedData;
using testing::StatusIs;
using testing::TempDir;

const std::string kGolden = std::string(BITDIAL_SOURCE_DIR) + "/tests/golden/";
constexpr char kConfig[] = R"({"architectures": ["LlamaForCausalLM"]})";

// A file of zeros with these tensors.
void WriteTensors(const std::string& path, std::vector<TensorDeclaration> declarations) {
  auto writer = SafetensorsWriter::Create(path, declarations);
  ASSERT_THAT(writer, IsOk());
  for (const TensorDeclaration& tensor : declarations) {
    const std::vector<std::byte> zeros(static_cast<size_t>(tensor.shape.NumElements()) *
                                       SizeOf(tensor.dtype));
    ASSERT_THAT((*writer)->Append(tensor.name, zeros), IsOk());
  }
  ASSERT_THAT((*writer)->Finish(), IsOk());
}

TEST(CheckpointOpenTest, ReadsTheTinyLlamas) {
  int num_models = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kGolden + "llama")) {
    if (!entry.is_directory()) continue;
    const auto checkpoint = Checkpoint::Open(entry.path().string());
    ASSERT_THAT(checkpoint, IsOk());
    EXPECT_EQ((*checkpoint)->form(), CheckpointForm::kHuggingFace);
    EXPECT_EQ((*checkpoint)->quantization(), nullptr);
    EXPECT_EQ((*checkpoint)->tokenizer_path(), entry.path().string());
    EXPECT_TRUE((*checkpoint)->config().contains("hidden_size"));
    EXPECT_TRUE((*checkpoint)->generation_config().contains("eos_token_id"));
    const auto embedding = (*checkpoint)->ReadDense("model.embed_tokens.weight");
    ASSERT_THAT(embedding, IsOk());
    EXPECT_EQ(embedding->view.shape, (Shape{(*checkpoint)->config()["vocab_size"],
                                            (*checkpoint)->config()["hidden_size"]}));
    EXPECT_EQ(embedding->storage.data(), nullptr) << "mapped, not copied";
    ++num_models;
  }
  EXPECT_GE(num_models, 5);
}

TEST(CheckpointOpenTest, ReadsStories260K) {
  const auto path = SharedData("models/stories260K-hf");
  if (!path.has_value()) GTEST_SKIP() << "SKIPPED: stories260K needs shared data";
  const auto checkpoint = Checkpoint::Open(*path);
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_EQ((*checkpoint)->tensors().size(), 47u);
  EXPECT_TRUE((*checkpoint)->Has("model.norm.weight"));
  EXPECT_FALSE((*checkpoint)->Has("model.norm"));
  (*checkpoint)->Forget("model.embed_tokens.weight");
  EXPECT_THAT((*checkpoint)->ReadDense("model.embed_tokens.weight"), IsOk());
}

TEST(CheckpointOpenTest, SaysWhatIsMissing) {
  const TempDir dir;
  EXPECT_THAT(Checkpoint::Open(dir / "nothing"),
              StatusIs(StatusCode::kNotFound, HasSubstr("no such file or folder")));
  EXPECT_THAT(Checkpoint::Open(""),
              StatusIs(StatusCode::kNotFound, HasSubstr("no such file or folder")));
  EXPECT_THAT(Checkpoint::Open(dir.path()),
              StatusIs(StatusCode::kNotFound, HasSubstr("no config.json")));
  dir.Write("config.json", kConfig);
  EXPECT_THAT(Checkpoint::Open(dir.path()),
              StatusIs(StatusCode::kNotFound, HasSubstr("neither model.safetensors nor")));
  dir.Write("model.safetensors", "");
  EXPECT_THAT(Checkpoint::Open(dir.path()),
              StatusIs(StatusCode::kDataLoss, HasSubstr("the file is empty")));
  EXPECT_THAT(Checkpoint::Open(dir.Write("weights.bin", "PK\x03\x04")),
              StatusIs(StatusCode::kDataLoss, HasSubstr("GGUF")));
}

TEST(CheckpointOpenTest, ALinkInCirclesIsNamed) {
  const TempDir dir;
  dir.Write("config.json", kConfig);
  for (const char* name : {"model.safetensors.index.json", "model.safetensors",
                           "generation_config.json", "config.json", "model.gguf"}) {
    dir.Remove(name);
    std::filesystem::create_symlink(name, dir / name);
    const std::string path = std::string(name) == "model.gguf" ? dir / name : dir.path();
    EXPECT_THAT(Checkpoint::Open(path),
                StatusIs(StatusCode::kNotFound, HasSubstr(dir / name + ": cannot open: Too many")));
  }
}

// A snapshot of the Hugging Face cache that was mounted without the blobs it links to.
TEST(CheckpointOpenTest, ALinkToNothingIsNamed) {
  const TempDir dir;
  dir.Write("config.json", kConfig);
  for (const char* name :
       {"model-1.safetensors", "model.safetensors.index.json", "model.safetensors",
        "generation_config.json", "config.json", "model.gguf"}) {
    dir.Write("model.safetensors.index.json", R"({"weight_map": {"a": "model-1.safetensors"}})");
    dir.Remove(name);
    std::filesystem::create_symlink("../../blobs/1f", dir / name);
    const std::string path = std::string(name) == "model.gguf" ? dir / name : dir.path();
    EXPECT_THAT(Checkpoint::Open(path),
                StatusIs(StatusCode::kNotFound,
                         HasSubstr(dir / name +
                                   ": is a link to ../../blobs/1f, which is not there; copy")));
  }
}

TEST(CheckpointOpenTest, SaysWhoMayNotRead) {
  if (::geteuid() == 0 && ::seteuid(65532) != 0)
    GTEST_SKIP() << "SKIPPED: a refusal needs another user";
  const auto back_to_root = absl::MakeCleanup([] { std::ignore = ::seteuid(::getuid()); });
  const TempDir dir;
  if (dir.path().empty())
    GTEST_SKIP() << "SKIPPED: a refusal needs a temporary folder of any user's";
  const std::string file = dir.Write("config.json", kConfig);
  const auto expect_refusal = [&](const std::string& path, const std::string& named) {
    const std::string message = named +
                                ": cannot open: Permission denied (this process runs as user " +
                                std::to_string(::geteuid());
    EXPECT_THAT(Checkpoint::Open(path),
                StatusIs(StatusCode::kPermissionDenied, HasSubstr(message)));
  };
  ASSERT_EQ(::chmod(file.c_str(), 0), 0);
  expect_refusal(dir.path(), file);
  ASSERT_EQ(::chmod(dir.path().c_str(), 0), 0);
  expect_refusal(dir.path(), dir.path());
  expect_refusal(file, file);
  ASSERT_EQ(::chmod(dir.path().c_str(), 0700), 0);
}

struct BadConfig {
  const char* text;
  StatusCode code;
  const char* message;
};

class BadConfigTest : public ::testing::TestWithParam<BadConfig> {};

TEST_P(BadConfigTest, IsRefusedNamingTheFile) {
  const TempDir dir;
  dir.Write("config.json", GetParam().text);
  WriteTensors(dir / "model.safetensors", {});
  EXPECT_THAT(
      Checkpoint::Open(dir.path()),
      StatusIs(GetParam().code, AllOf(HasSubstr("config.json"), HasSubstr(GetParam().message))))
      << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(
    All, BadConfigTest,
    ::testing::Values(
        BadConfig{"{", StatusCode::kDataLoss, "malformed JSON"},
        BadConfig{"[]", StatusCode::kDataLoss, "an object"},
        BadConfig{"{}", StatusCode::kDataLoss, "architectures"},
        BadConfig{R"({"architectures": []})", StatusCode::kDataLoss, "architectures"},
        BadConfig{R"({"architectures": "LlamaForCausalLM"})", StatusCode::kDataLoss,
                  "an array of strings"},
        BadConfig{R"({"architectures": ["A"], "architectures": ["B"]})", StatusCode::kDataLoss,
                  "there twice"},
        BadConfig{R"({"architectures": ["A"], "quantization_config": {"quant_method": "gptq"}})",
                  StatusCode::kUnimplemented, "gptq"},
        BadConfig{R"({"architectures": ["A"], "anybcq": 4})", StatusCode::kDataLoss, "an object"},
        BadConfig{R"({"architectures": ["A"], "anybcq": {}})", StatusCode::kDataLoss,
                  "seed_precision"},
        BadConfig{
            R"({"architectures": ["A"], "anybcq": {"seed_precision": 0, "parent_precision": 4, "group_size": 32}})",
            StatusCode::kDataLoss, "seed_precision"},
        BadConfig{
            R"({"architectures": ["A"], "anybcq": {"seed_precision": 4, "parent_precision": 2, "group_size": 32}})",
            StatusCode::kDataLoss, "parent_precision"},
        BadConfig{
            R"({"architectures": ["A"], "anybcq": {"seed_precision": 2, "parent_precision": 9, "group_size": 32}})",
            StatusCode::kDataLoss, "parent_precision"},
        BadConfig{
            R"({"architectures": ["A"], "anybcq": {"seed_precision": 2, "parent_precision": 4, "group_size": 0}})",
            StatusCode::kDataLoss, "group_size"},
        BadConfig{
            R"({"architectures": ["A"], "anybcq": {"seed_precision": 2, "parent_precision": 4, "group_size": 32, "method": 3}})",
            StatusCode::kDataLoss, "method"}));

TEST(CheckpointOpenTest, RefusesABrokenGenerationConfig) {
  const TempDir dir;
  dir.Write("config.json", kConfig);
  WriteTensors(dir / "model.safetensors", {});
  ASSERT_THAT(Checkpoint::Open(dir.path()), IsOk());
  dir.Write("generation_config.json", "[1]");
  EXPECT_THAT(Checkpoint::Open(dir.path()),
              StatusIs(StatusCode::kDataLoss, HasSubstr("generation_config.json")));
}

TEST(CheckpointOpenTest, SuggestsNearNames) {
  const auto checkpoint = Checkpoint::Open(kGolden + "anybcq_release");
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_THAT((*checkpoint)->ReadDense("model.layers.0.input_layer_norm.weight"),
              StatusIs(StatusCode::kNotFound,
                       HasSubstr("did you mean \"model.layers.0.input_layernorm.weight\"")));
  EXPECT_THAT((*checkpoint)->ReadDense("qqqq"),
              StatusIs(StatusCode::kNotFound, ::testing::Not(HasSubstr("did you mean"))));
}

// A tensor behind an odd header lies at an odd address in the file: it is copied, not read in
// place.
TEST(CheckpointOpenTest, CopiesMisalignedTensors) {
  const TempDir dir;
  dir.Write("config.json", kConfig);
  const std::string header = R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  ASSERT_NE((8 + header.size()) % 4, 0u);
  const uint64_t length = header.size();
  const float values[2] = {1.5f, -2.0f};
  dir.Write("model.safetensors", std::string(reinterpret_cast<const char*>(&length), 8) + header +
                                     std::string(reinterpret_cast<const char*>(values), 8));
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_THAT(checkpoint, IsOk());
  const auto tensor = (*checkpoint)->ReadDense("t");
  ASSERT_THAT(tensor, IsOk());
  EXPECT_NE(tensor->storage.data(), nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor->view.data) % 4, 0u);
  EXPECT_EQ(tensor->view.As<float>()[1], -2.0f);
}

class ShardedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_.Write("config.json", kConfig);
    WriteTensors(dir_ / "a.safetensors", {{"x", DType::kF32, {2}}, {"y", DType::kF32, {3}}});
    WriteTensors(dir_ / "b.safetensors", {{"z", DType::kF16, {4}}});
    WriteTensors(dir_ / "c.safetensors", {{"x", DType::kF32, {2}}});
  }
  absl::Status OpenWith(const std::string& weight_map) {
    dir_.Write("model.safetensors.index.json",
               "{\"metadata\": {}, \"weight_map\": " + weight_map + "}");
    return Checkpoint::Open(dir_.path()).status();
  }
  const TempDir dir_;
};

TEST_F(ShardedTest, JoinsShards) {
  ASSERT_THAT(OpenWith(R"({"x": "a.safetensors", "y": "a.safetensors", "z": "b.safetensors"})"),
              IsOk());
  const auto checkpoint = Checkpoint::Open(dir_.path());
  ASSERT_EQ((*checkpoint)->tensors().size(), 3u);
  EXPECT_EQ((*checkpoint)->tensors()[2].name, "z");
  EXPECT_EQ((*checkpoint)->tensors()[2].type, "f16");
  EXPECT_EQ((*checkpoint)->tensors()[2].num_bytes, 8u);
}

TEST_F(ShardedTest, RefusesWhatDoesNotFit) {
  EXPECT_THAT(OpenWith(R"({"x": "a.safetensors", "z": "gone.safetensors"})"),
              StatusIs(StatusCode::kNotFound, HasSubstr("shard gone.safetensors is missing")));
  EXPECT_THAT(
      OpenWith(R"({"x": "a.safetensors", "w": "b.safetensors"})"),
      StatusIs(StatusCode::kDataLoss, HasSubstr("tensor \"w\" is not in shard b.safetensors")));
  EXPECT_THAT(
      OpenWith(R"({"x": "a.safetensors", "y": "b.safetensors"})"),
      StatusIs(StatusCode::kDataLoss, HasSubstr("tensor \"y\" is not in shard b.safetensors")));
  EXPECT_THAT(OpenWith(R"({"y": "a.safetensors", "x": "c.safetensors"})"),
              StatusIs(StatusCode::kDataLoss, HasSubstr("tensor \"x\" is also in")));
  for (const char* name : {"\"../a.safetensors\"", "\"/etc/passwd\"", "\"..\"", "\"\"",
                           "\"sub/a.safetensors\"", "7", "null", "\"a\\u0000.safetensors\""}) {
    EXPECT_THAT(OpenWith(std::string("{\"x\": ") + name + "}"),
                StatusIs(StatusCode::kDataLoss, HasSubstr("a file in the same folder")))
        << name;
  }
  dir_.Write("model.safetensors.index.json", "{}");
  EXPECT_THAT(Checkpoint::Open(dir_.path()),
              StatusIs(StatusCode::kDataLoss, HasSubstr("weight_map")));
  dir_.Write("model.safetensors.index.json", R"({"weight_map": []})");
  EXPECT_THAT(Checkpoint::Open(dir_.path()),
              StatusIs(StatusCode::kDataLoss, HasSubstr("weight_map")));
}

// A checkpoint that an independent script wrote to the published layout, q_bias filled with NaN.
TEST(ReadBcqTest, ReadsTheReleaseLayout) {
  const auto checkpoint = Checkpoint::Open(kGolden + "anybcq_release");
  ASSERT_THAT(checkpoint, IsOk());
  const QuantizationInfo* info = (*checkpoint)->quantization();
  ASSERT_NE(info, nullptr);
  EXPECT_EQ(info->min_bits, 2);
  EXPECT_EQ(info->max_bits, 4);
  EXPECT_EQ(info->group_size, 32);
  EXPECT_EQ(info->method, "anybcq");
  const std::string prefix = "model.layers.1.mlp.down_proj";  // in 96, out 64
  ASSERT_TRUE((*checkpoint)->IsBcq(prefix));
  EXPECT_FALSE((*checkpoint)->IsBcq("lm_head"));
  const auto bcq = (*checkpoint)->ReadBcq(prefix);
  ASSERT_THAT(bcq, IsOk());
  EXPECT_EQ(bcq->codes.shape, (Shape{3, 4, 64}));
  EXPECT_EQ(bcq->group_size, 32);
  ASSERT_EQ(bcq->scales.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(bcq->scales[i].bits, i + 2);
    EXPECT_EQ(bcq->scales[i].alpha.shape, (Shape{3, i + 2, 64}));
    EXPECT_EQ(bcq->scales[i].beta.shape, (Shape{3, 64}));
    EXPECT_EQ(bcq->scales[i].beta.dtype, DType::kF16);
  }
}

// One linear of 64 -> 8 in planes 2 to 4, group 32, to be spoilt by `change`.
absl::StatusOr<kernels::CanonicalBcq> ReadSpoilt(
    const std::string& remove, const std::optional<TensorDeclaration>& replace = std::nullopt) {
  const TempDir dir;
  dir.Write(
      "config.json",
      R"({"architectures": ["LlamaForCausalLM"], "anybcq": {"seed_precision": 2, "parent_precision": 4, "group_size": 32}})");
  std::vector<TensorDeclaration> tensors = {{"l.qweight", DType::kI32, {2, 4, 8}}};
  for (int bits = 2; bits <= 4; ++bits) {
    tensors.push_back({"l.alpha_" + std::to_string(bits), DType::kF16, {2, bits, 8}});
    tensors.push_back({"l.beta_" + std::to_string(bits), DType::kF16, {2, 8}});
  }
  // "beta" removes every beta, "l.beta_3" one.
  std::erase_if(tensors, [&](const TensorDeclaration& tensor) {
    return tensor.name == remove ||
           (remove == "beta" && tensor.name.find("beta") != std::string::npos);
  });
  for (TensorDeclaration& tensor : tensors) {
    if (replace.has_value() && tensor.name == replace->name) tensor = *replace;
  }
  WriteTensors(dir / "model.safetensors", tensors);
  auto checkpoint = Checkpoint::Open(dir.path());
  if (!checkpoint.ok()) return checkpoint.status();
  return (*checkpoint)->ReadBcq("l");
}

TEST(ReadBcqTest, RefusesMissingTensors) {
  ASSERT_THAT(ReadSpoilt("nothing"), IsOk());
  for (const char* name :
       {"l.qweight", "l.alpha_2", "l.alpha_3", "l.alpha_4", "l.beta_2", "l.beta_3", "l.beta_4"}) {
    EXPECT_THAT(ReadSpoilt(name), StatusIs(StatusCode::kNotFound, HasSubstr(name))) << name;
  }
}

TEST(ReadBcqTest, WithoutAnyBetaBetaIsZero) {
  const auto bcq = ReadSpoilt("beta");
  ASSERT_THAT(bcq, IsOk());
  ASSERT_EQ(bcq->scales.size(), 3u);
  EXPECT_EQ(bcq->scales[0].beta.data, nullptr);
}

TEST(ReadBcqTest, RefusesShapesAndTypesThatDoNotFit) {
  const TensorDeclaration bad[] = {
      {"l.qweight", DType::kF32, {2, 4, 8}}, {"l.qweight", DType::kI32, {8, 8}},
      {"l.qweight", DType::kI32, {2, 9, 8}}, {"l.qweight", DType::kI32, {0, 4, 8}},
      {"l.alpha_4", DType::kF16, {3, 4, 8}}, {"l.alpha_4", DType::kF16, {0, 4, 8}},
      {"l.alpha_4", DType::kF16, {2, 8}},    {"l.alpha_4", DType::kF16, {2, 3, 8}},
      {"l.alpha_3", DType::kF16, {1, 3, 8}}, {"l.alpha_2", DType::kBF16, {2, 2, 8}},
      {"l.alpha_2", DType::kF16, {2, 2, 7}}, {"l.beta_3", DType::kF16, {2, 7}},
      {"l.beta_3", DType::kF16, {1, 8}},     {"l.beta_3", DType::kI32, {2, 8}},
      {"l.beta_3", DType::kF16, {2, 1, 8}},
  };
  for (const TensorDeclaration& tensor : bad) {
    EXPECT_THAT(ReadSpoilt("", tensor),
                StatusIs(StatusCode::kDataLoss, HasSubstr("\"" + tensor.name + "\"")));
  }
  EXPECT_THAT(ReadSpoilt("", TensorDeclaration{"l.beta_2", DType::kF32, {2, 8}}), IsOk());
}

// The embedding or head at its own bits has one set, for all its planes.
TEST(ReadBcqTest, AllowsFixedBits) {
  const TempDir dir;
  dir.Write(
      "config.json",
      R"({"architectures": ["A"], "anybcq": {"seed_precision": 2, "parent_precision": 4, "group_size": -1, "method": "bcq", "x": 1}})");
  WriteTensors(dir / "model.safetensors", {{"six.qweight", DType::kI32, {2, 6, 8}},
                                           {"six.alpha_6", DType::kF32, {1, 6, 8}},
                                           {"four.qweight", DType::kI32, {2, 4, 8}},
                                           {"four.alpha_4", DType::kF16, {2, 4, 8}}});
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_EQ((*checkpoint)->quantization()->method, "bcq");
  EXPECT_EQ((*checkpoint)->quantization()->group_size, -1);
  const auto six = (*checkpoint)->ReadBcq("six");
  ASSERT_THAT(six, IsOk());
  EXPECT_EQ(six->group_size, 64);
  EXPECT_EQ(six->scales.size(), 1u);
  EXPECT_THAT((*checkpoint)->ReadBcq("four"), IsOk());
}

TEST(ReadRowAsF32Test, ConvertsEveryDenseType) {
  const float f32[] = {1, 2, 3, -0.1f, 1e-30f, 6};
  const uint16_t f16[] = {0, 0, 0, 0x3c00, 0x8001, 0x7c00};
  const uint16_t bf16[] = {0, 0, 0, 0x3f80, 0xc000, 0x0001};
  float out[3];
  ReadRowAsF32({reinterpret_cast<const std::byte*>(f32), DType::kF32, {2, 3}}, 1, out);
  EXPECT_THAT(out, ::testing::ElementsAre(-0.1f, 1e-30f, 6.0f));
  ReadRowAsF32({reinterpret_cast<const std::byte*>(f16), DType::kF16, {2, 3}}, 1, out);
  EXPECT_THAT(out, ::testing::ElementsAre(1.0f, -0x1p-24f, std::numeric_limits<float>::infinity()));
  ReadRowAsF32({reinterpret_cast<const std::byte*>(bf16), DType::kBF16, {2, 3}}, 1, out);
  EXPECT_THAT(out, ::testing::ElementsAre(1.0f, -2.0f, std::bit_cast<float>(0x00010000u)));
}

}  // namespace
}  // namespace bitdial::quant
