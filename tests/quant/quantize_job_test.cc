// The quantize job end to end: what it writes, and what it leaves when it cannot.
#include "quant/methods/quantize_job.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <random>

#include "kernels/formats/bcq/canonical.h"
#include "quant/container/safetensors_writer.h"
#include "quant/methods/tensor_plan.h"
#include "tests/testing/shared_data.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace bitdial::quant {
namespace {

using bitdial::testing::IsOk;
using bitdial::testing::SharedData;
using bitdial::testing::StatusIs;
using bitdial::testing::TempDir;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr int64_t kHidden = 96;  // group size 32 when chosen by tensor
constexpr int64_t kVocab = 40;

struct FakeTensor {
  std::string name;
  Shape shape;
  std::vector<float> values;
};

void Fill(std::vector<FakeTensor>& tensors) {
  std::mt19937 rng(11);
  std::normal_distribution<float> normal(0, 0.1f);
  for (FakeTensor& tensor : tensors) {
    tensor.values.resize(static_cast<size_t>(tensor.shape.NumElements()));
    for (float& value : tensor.values) value = normal(rng);
  }
}

// One layer's worth of tensors; k_proj has an in_features that cannot be grouped.
std::vector<FakeTensor> FakeModel() {
  std::vector<FakeTensor> tensors = {
      {"lm_head.weight", {kVocab, kHidden}, {}},
      {"model.embed_tokens.weight", {kVocab, kHidden}, {}},
      {"model.layers.0.input_layernorm.weight", {kHidden}, {}},
      {"model.layers.0.mlp.down_proj.weight", {kHidden, 128}, {}},
      {"model.layers.0.mlp.up_proj.weight", {128, kHidden}, {}},
      {"model.layers.0.self_attn.k_proj.weight", {50, 48}, {}},
      {"model.layers.0.self_attn.q_proj.bias", {kHidden}, {}},
      {"model.layers.0.self_attn.q_proj.weight", {kHidden, kHidden}, {}},
      {"model.norm.weight", {kHidden}, {}},
  };
  Fill(tensors);
  return tensors;
}

// An OPT whose embedding is narrower than its hidden size; `decoder` as the file names it.
std::vector<FakeTensor> FakeOpt(const std::string& decoder) {
  std::vector<FakeTensor> tensors = {
      {decoder + ".embed_positions.weight", {34, kHidden}, {}},
      {decoder + ".embed_tokens.weight", {kVocab, 64}, {}},
      {decoder + ".final_layer_norm.weight", {kHidden}, {}},
      {decoder + ".layers.0.fc1.bias", {128}, {}},
      {decoder + ".layers.0.fc1.weight", {128, kHidden}, {}},
      {decoder + ".layers.0.fc2.weight", {kHidden, 128}, {}},
      {decoder + ".layers.0.self_attn.out_proj.weight", {kHidden, kHidden}, {}},
      {decoder + ".project_in.weight", {kHidden, 64}, {}},
      {decoder + ".project_out.weight", {64, kHidden}, {}},
      {"lm_head.weight", {kVocab, 64}, {}},
  };
  Fill(tensors);
  return tensors;
}

std::string WriteModel(const TempDir& dir, const std::string& name,
                       const std::vector<FakeTensor>& tensors, bool is_tied = false) {
  const std::string folder = dir / name;
  fs::create_directory(folder);
  dir.Write(
      name + "/config.json",
      fmt::format(
          R"({{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 96,
  "num_hidden_layers": 1, "tie_word_embeddings": {}, "num_attention_heads": 2, "attention_bias": true,
  "vocab_size": 40}})",
          is_tied));
  dir.Write(name + "/tokenizer.json", "{\"as\": \"is\"}");
  std::vector<TensorDeclaration> declarations;
  for (const FakeTensor& tensor : tensors)
    declarations.push_back({tensor.name, DType::kF32, tensor.shape});
  auto writer = SafetensorsWriter::Create(folder + "/model.safetensors", declarations);
  EXPECT_THAT(writer, IsOk());
  for (const FakeTensor& tensor : tensors) {
    EXPECT_THAT((*writer)->Append(tensor.name, std::as_bytes(std::span(tensor.values))), IsOk());
  }
  EXPECT_THAT((*writer)->Finish(), IsOk());
  return folder;
}

std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class QuantizeJobTest : public ::testing::Test {
 protected:
  absl::StatusOr<QuantizeReport> Run(const std::string& source, QuantizeOptions options,
                                     const ProgressFn& progress = nullptr, int num_threads = 2) {
    auto checkpoint = Checkpoint::Open(source);
    if (!checkpoint.ok()) return checkpoint.status();
    ThreadPool pool(num_threads);
    return Quantize(**checkpoint, options, pool, progress);
  }
  // Nothing but the named entries may lie in the test's folder.
  void ExpectOnly(std::vector<std::string> names) {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(dir_.path()))
      found.push_back(entry.path().filename());
    EXPECT_THAT(found, ::testing::UnorderedElementsAreArray(names));
  }

  TempDir dir_;
};

TEST_F(QuantizeJobTest, WhatIsReadBackIsWhatTheSolverGave) {
  const std::vector<FakeTensor> tensors = FakeModel();
  const std::string source = WriteModel(dir_, "model", tensors);
  for (const MethodInfo& method : AllMethods()) {
    const std::string out = dir_ / method.name;
    const auto report = Run(source, {.output = out, .method = method.name, .bits = {2, 4}});
    ASSERT_THAT(report, IsOk());
    auto checkpoint = Checkpoint::Open(out);
    ASSERT_THAT(checkpoint, IsOk());
    ASSERT_NE((*checkpoint)->quantization(), nullptr);
    EXPECT_EQ((*checkpoint)->quantization()->min_bits, 2);
    EXPECT_EQ((*checkpoint)->quantization()->max_bits, 4);

    const FakeTensor& q_proj = tensors[7];
    auto bcq = (*checkpoint)->ReadBcq("model.layers.0.self_attn.q_proj");
    ASSERT_THAT(bcq, IsOk());
    ASSERT_EQ(bcq->group_size, 32);
    const auto solver = method.make_solver({2, 4});
    GroupSolution solution;
    std::array<double, 5> squared = {};
    double energy = 0;
    std::vector<double> row(kHidden);
    for (int64_t r = 0; r < kHidden; ++r) {
      for (int bits = 2; bits <= 4; ++bits) {
        kernels::DequantizeRow(*bcq, bits, r, std::span<double>(row));
        for (int64_t start = 0; start < kHidden; start += 32) {
          const std::span<const float> group(q_proj.values.data() + r * kHidden + start, 32);
          solver->Solve(group, solution);
          const ScaleSet& set = solution.scales[static_cast<size_t>(bits - 1)];
          for (size_t i = 0; i < 32; ++i) {
            double level = 0;
            for (int p = 0; p < bits; ++p) {
              const double alpha = set.alpha[static_cast<size_t>(p)];
              level += solution.codes[i] >> p & 1 ? alpha : -alpha;
            }
            level += set.beta;
            ASSERT_EQ(row[static_cast<size_t>(start) + i], level) << method.name << " row " << r;
            squared[static_cast<size_t>(bits)] += (group[i] - level) * (group[i] - level);
            if (bits == 2) energy += static_cast<double>(group[i]) * group[i];
          }
        }
      }
    }
    for (const TensorReport& tensor : report->tensors) {
      if (tensor.name != q_proj.name) continue;
      ASSERT_EQ(tensor.precisions.size(), 3u);
      for (const PrecisionReport& p : tensor.precisions) {
        EXPECT_NEAR(p.relative_error, std::sqrt(squared[static_cast<size_t>(p.bits)] / energy),
                    1e-9);
      }
      // 4 planes, alphas 2 + 3 + 4 and 3 betas of 16 bits over 32 weights.
      EXPECT_DOUBLE_EQ(tensor.bits_per_weight, 4 + 16.0 * (9 + 3) / 32);
      EXPECT_DOUBLE_EQ(tensor.precisions[0].bits_per_weight, 2 + 16.0 * 3 / 32);
    }
  }
}

TEST_F(QuantizeJobTest, FolderHoldsEverythingElseAsItWas) {
  const std::vector<FakeTensor> tensors = FakeModel();
  const std::string source = WriteModel(dir_, "model", tensors);
  const std::string out = dir_ / "out";
  const auto report = Run(source, {.output = out + "/", .head_bits = 6});
  ASSERT_THAT(report, IsOk());
  ExpectOnly({"model", "out"});
  auto checkpoint = Checkpoint::Open(out);
  ASSERT_THAT(checkpoint, IsOk());
  for (const size_t copied : {2u, 5u, 6u, 8u}) {  // norms, bias, the k_proj that cannot be grouped
    const auto dense = (*checkpoint)->ReadDense(tensors[copied].name);
    ASSERT_THAT(dense, IsOk());
    EXPECT_EQ(dense->view.shape, tensors[copied].shape);
    EXPECT_EQ(std::memcmp(dense->view.data, tensors[copied].values.data(), dense->view.NumBytes()),
              0);
  }
  EXPECT_EQ((*checkpoint)->ReadBcq("model.embed_tokens")->scales.front().bits, 8);
  EXPECT_EQ((*checkpoint)->ReadBcq("lm_head")->scales.front().bits, 6);
  EXPECT_EQ((*checkpoint)->ReadBcq("model.layers.0.mlp.down_proj")->group_size, 128);
  EXPECT_EQ(ReadAll(out + "/tokenizer.json"), "{\"as\": \"is\"}");
  const Json& config = (*checkpoint)->config();
  EXPECT_EQ(config["num_attention_heads"], 2);
  EXPECT_EQ(config["anybcq"]["arch_config"]["layers_name"], "layers");
  EXPECT_EQ(config["bitdial"]["method"], "anybcq");
  EXPECT_EQ(config["bitdial"]["source"], "model");
  EXPECT_EQ(config["bitdial"]["tensors"]["lm_head"], "6");
  EXPECT_EQ(config["bitdial"]["tensors"]["model.layers.0.self_attn.k_proj"], "dense");
  for (const TensorReport& tensor : report->tensors) {
    if (tensor.name.find("k_proj") != std::string::npos) {
      EXPECT_THAT(tensor.why_dense, HasSubstr("48"));
    }
  }
  int64_t num_bytes = 0;
  for (const TensorInfo& info : (*checkpoint)->tensors())
    num_bytes += static_cast<int64_t>(info.num_bytes);
  EXPECT_EQ(report->num_bytes, num_bytes);
}

// Embedding and head: scales that are powers of two times the last one, whatever the method; linears are
// the method's.
TEST_F(QuantizeJobTest, EmbeddingAndHeadLieOnUniformGrids) {
  const std::string source = WriteModel(dir_, "model", FakeModel());
  ASSERT_THAT(Run(source, {.output = dir_ / "out", .head_bits = 6}), IsOk());
  auto checkpoint = Checkpoint::Open(dir_ / "out");
  ASSERT_THAT(checkpoint, IsOk());
  const auto is_uniform = [&](const std::string& name) {
    const kernels::CanonicalBcq bcq = *(*checkpoint)->ReadBcq(name);
    const kernels::CanonicalScales& set = bcq.scales.back();
    const int64_t out = set.alpha.shape[2];
    for (int64_t i = 0; i < set.alpha.shape.NumElements(); ++i) {
      const int64_t plane = i / out % set.bits, last = i + (set.bits - 1 - plane) * out;
      const auto scale = [&](int64_t at) { return F16ToF32(set.alpha.As<uint16_t>()[at]); };
      if (scale(i) != std::ldexp(scale(last), static_cast<int>(set.bits - 1 - plane))) return false;
    }
    return true;
  };
  EXPECT_TRUE(is_uniform("model.embed_tokens"));
  EXPECT_TRUE(is_uniform("lm_head"));
  EXPECT_FALSE(is_uniform("model.layers.0.mlp.down_proj"));
}

TEST_F(QuantizeJobTest, TiedHeadIsStoredOnce) {
  const std::string source = WriteModel(dir_, "model", FakeModel(), /*is_tied=*/true);
  const auto report = Run(source, {.output = dir_ / "out"});
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->notes, ::testing::ElementsAre(HasSubstr("lm_head.weight left out")));
  auto checkpoint = Checkpoint::Open(dir_ / "out");
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_FALSE((*checkpoint)->IsBcq("lm_head"));
  EXPECT_FALSE((*checkpoint)->Has("lm_head.weight"));
}

// The linears of the layers and the embedding become planes; positions, projections and norms stay
// as they were. config.json does not say that the head is tied: an OPT's is.
TEST_F(QuantizeJobTest, OptByEitherNameOfItsDecoder) {
  for (const std::string decoder : {"model.decoder", "decoder"}) {
    const std::vector<FakeTensor> tensors = FakeOpt(decoder);
    const std::string source = WriteModel(dir_, decoder, tensors);
    dir_.Write(decoder + "/config.json",
               R"({"architectures": ["OPTForCausalLM"], "num_hidden_layers": 1, "hidden_size": 96,
                   "word_embed_proj_dim": 64})");
    const std::string out = dir_ / (decoder + "-out");
    const auto report = Run(source, {.output = out});
    ASSERT_THAT(report, IsOk());
    EXPECT_THAT(report->notes, ::testing::ElementsAre(HasSubstr("lm_head.weight left out")));
    auto checkpoint = Checkpoint::Open(out);
    ASSERT_THAT(checkpoint, IsOk());
    for (const FakeTensor& tensor : tensors) {
      const std::string prefix = tensor.name.substr(0, tensor.name.rfind('.'));
      const bool is_planes =
          tensor.name.find("embed_tokens") != std::string::npos ||
          (tensor.name.find(".layers.") != std::string::npos && tensor.shape.rank == 2);
      if (tensor.shape.rank == 2) {
        EXPECT_EQ((*checkpoint)->IsBcq(prefix), is_planes) << tensor.name;
      }
      EXPECT_EQ((*checkpoint)->Has(tensor.name), !is_planes && tensor.name != "lm_head.weight")
          << tensor.name;
    }
    EXPECT_EQ((*checkpoint)->ReadBcq(decoder + ".embed_tokens")->scales.size(), 1u);
    EXPECT_EQ((*checkpoint)->ReadBcq(decoder + ".layers.0.fc2")->scales.size(), 3u);
    const Json& names = (*checkpoint)->config()["anybcq"]["arch_config"];
    EXPECT_EQ(names["model_name"], decoder);
    EXPECT_THAT(names["module_names"], ::testing::Contains("fc2"));
  }
}

TEST_F(QuantizeJobTest, RefusesFamiliesItDoesNotKnow) {
  std::vector<FakeTensor> tensors = FakeModel();
  tensors.erase(tensors.begin());  // the head has one name in both families
  const std::string source = WriteModel(dir_, "model", tensors);
  dir_.Write("model/config.json", R"({"architectures": ["MambaForCausalLM"]})");
  EXPECT_THAT(Run(source, {.output = dir_ / "out"}),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("[MambaForCausalLM] cannot be quantized; this build knows "
                                 "LlamaForCausalLM, OPTForCausalLM")));
  dir_.Write("model/config.json",
             R"({"architectures": ["OPTForCausalLM"], "num_hidden_layers": 1, "hidden_size": 96,
                 "tie_word_embeddings": "yes"})");
  EXPECT_THAT(Run(source, {.output = dir_ / "out"}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("tie_word_embeddings")));
  dir_.Write("model/config.json",
             R"({"architectures": ["OPTForCausalLM"], "num_hidden_layers": 1, "hidden_size": 96})");
  EXPECT_THAT(Run(source, {.output = dir_ / "out"}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("are not read by the model")));
  ExpectOnly({"model"});
}

TEST_F(QuantizeJobTest, BytesDoNotDependOnThreads) {
  const std::string source = WriteModel(dir_, "model", FakeModel());
  ASSERT_THAT(Run(source, {.output = dir_ / "one"}, nullptr, 1), IsOk());
  ASSERT_THAT(Run(source, {.output = dir_ / "three"}, nullptr, 3), IsOk());
  for (const char* file : {"/model.safetensors", "/config.json"}) {
    const std::string one = ReadAll(dir_ / "one" + file);
    EXPECT_FALSE(one.empty());
    EXPECT_TRUE(one == ReadAll(dir_ / "three" + file)) << file;
  }
}

TEST_F(QuantizeJobTest, Overrides) {
  const std::string source = WriteModel(dir_, "model", FakeModel());
  QuantizeOptions options{.output = dir_ / "out"};
  for (const char* text : {"model.layers.*=2-3", "*.up_proj.weight=4", "lm_head*=dense"}) {
    options.overrides.push_back(*ParseTensorOverride(text));
  }
  ASSERT_THAT(Run(source, options), IsOk());
  auto checkpoint = Checkpoint::Open(dir_ / "out");
  ASSERT_THAT(checkpoint, IsOk());
  const auto q_proj = (*checkpoint)->ReadBcq("model.layers.0.self_attn.q_proj");
  ASSERT_THAT(q_proj, IsOk());
  EXPECT_EQ(q_proj->scales.size(), 2u);
  EXPECT_EQ(q_proj->codes.shape[1], 3);
  const auto up_proj = (*checkpoint)->ReadBcq("model.layers.0.mlp.up_proj");
  ASSERT_THAT(up_proj, IsOk());
  EXPECT_EQ(up_proj->scales.size(), 1u);
  EXPECT_TRUE((*checkpoint)->Has("lm_head.weight"));

  options.output = dir_ / "other";
  options.overrides = {*ParseTensorOverride("model.layer.*=3")};
  EXPECT_THAT(Run(source, options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("matches no tensor")));
  options.overrides = {*ParseTensorOverride("model.layers.*=3-4")};
  EXPECT_THAT(Run(source, options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must start at 2")));
  ExpectOnly({"model", "out"});
}

TEST(TensorPlanTest, OverridesParse) {
  EXPECT_EQ(ParseTensorOverride("a=b=3")->pattern, "a=b");
  EXPECT_EQ(ParseTensorOverride("*=2-8")->bits, (BitRange{2, 8}));
  EXPECT_TRUE(ParseTensorOverride("x=dense")->is_dense);
  for (const char* bad :
       {"", "x", "=3", "x=", "x=0", "x=9", "x=4-2", "x=2-", "x=3.5", "x=-1", "x=99999999999"}) {
    EXPECT_THAT(ParseTensorOverride(bad),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("override")))
        << bad;
  }
}

TEST(TensorPlanTest, Globs) {
  EXPECT_TRUE(MatchesGlob("*", ""));
  EXPECT_TRUE(MatchesGlob("a*c?e", "abbbcde"));
  EXPECT_TRUE(MatchesGlob("*.q_proj.weight", "model.layers.0.self_attn.q_proj.weight"));
  EXPECT_FALSE(MatchesGlob("a*c", "abcd"));
  EXPECT_FALSE(MatchesGlob("?", ""));
  EXPECT_FALSE(MatchesGlob("", "a"));
  EXPECT_FALSE(MatchesGlob(std::string(200, '*') + "b", std::string(5000, 'a')));
}

TEST_F(QuantizeJobTest, RefusesWhatItCannotDo) {
  std::vector<FakeTensor> tensors = FakeModel();
  const std::string source = WriteModel(dir_, "model", tensors);
  const std::string out = dir_ / "out";
  using enum absl::StatusCode;
  EXPECT_THAT(Run(source, {.output = ""}), StatusIs(kInvalidArgument, HasSubstr("no output")));
  EXPECT_THAT(Run(source, {.output = out, .method = "magic"}),
              StatusIs(kInvalidArgument, HasSubstr("magic")));
  EXPECT_THAT(Run(source, {.output = out, .bits = {2, 9}}),
              StatusIs(kInvalidArgument, HasSubstr("1 to 8")));
  EXPECT_THAT(Run(source, {.output = out, .group_size = 48}),
              StatusIs(kInvalidArgument, HasSubstr("48")));
  EXPECT_THAT(Run(source, {.output = out, .group_size = 64}),
              StatusIs(kInvalidArgument, HasSubstr("does not divide in_features 96")));

  tensors[7].values[5 * kHidden + 17] = std::nanf("");
  EXPECT_THAT(
      Run(WriteModel(dir_, "nan", tensors), {.output = out}),
      StatusIs(absl::StatusCode::kDataLoss,
               HasSubstr("\"model.layers.0.self_attn.q_proj.weight\": element [5, 17] is nan")));
  tensors[7].values[5 * kHidden + 17] = 1e6f;
  EXPECT_THAT(
      Run(WriteModel(dir_, "huge", tensors), {.output = out}),
      StatusIs(kInvalidArgument, HasSubstr("row 5, group from column 0: weights up to 1000000")));
  tensors = FakeModel();
  tensors[8].values[3] = -HUGE_VALF;
  EXPECT_THAT(Run(WriteModel(dir_, "norm", tensors), {.output = out}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("\"model.norm.weight\": element 3")));
  ExpectOnly({"model", "nan", "huge", "norm"});

  ASSERT_THAT(Run(source, {.output = out}), IsOk());
  EXPECT_THAT(Run(out, {.output = dir_ / "again"}),
              StatusIs(kFailedPrecondition, HasSubstr("quantized already")));
  EXPECT_THAT(Run(source, {.output = out}), StatusIs(kAlreadyExists, HasSubstr("another name")));
  const std::string before = ReadAll(out + "/model.safetensors");
  // Only what quantize made is ever replaced: not the source, not somebody's folder.
  EXPECT_THAT(Run(source, {.output = source, .overwrite = true}),
              StatusIs(kAlreadyExists, HasSubstr("not made by quantize")));
  EXPECT_THAT(Run(source, {.output = dir_ / "nan", .overwrite = true}),
              StatusIs(kAlreadyExists, HasSubstr("not made by quantize")));
  ASSERT_THAT(Run(source, {.output = out, .bits = {2, 3}, .overwrite = true}), IsOk());
  EXPECT_LT(ReadAll(out + "/model.safetensors").size(), before.size());
  ExpectOnly({"model", "nan", "huge", "norm", "out"});
}

TEST_F(QuantizeJobTest, StoppingLeavesNothing) {
  const std::string source = WriteModel(dir_, "model", FakeModel());
  int num_calls = 0;
  EXPECT_THAT(Run(source, {.output = dir_ / "out"},
                  [&](const QuantizeProgress&) { return ++num_calls < 4; }),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("stopped")));
  EXPECT_EQ(num_calls, 4);
  ExpectOnly({"model"});
}

TEST_F(QuantizeJobTest, KilledRunLeavesNoCheckpointAndIsCleanedUp) {
  const std::string source = WriteModel(dir_, "model", FakeModel());
  const pid_t child = fork();
  if (child == 0) {
    int num_calls = 0;
    (void)Run(
        source, {.output = dir_ / "out"},
        [&](const QuantizeProgress&) {
          if (++num_calls == 4) raise(SIGKILL);
          return true;
        },
        1);
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  const std::string stale = fmt::format("out.tmp-{}", child);
  ExpectOnly({"model", stale});
  const auto report = Run(source, {.output = dir_ / "out"});
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->notes, ::testing::ElementsAre(HasSubstr(stale)));
  ExpectOnly({"model", "out"});
}

// A file size limit stands in for a full disk: both surface as RESOURCE_EXHAUSTED from the same
// writes.
TEST_F(QuantizeJobTest, FullDiskIsAnErrorThatLeavesNothing) {
  const std::string source = WriteModel(dir_, "model", FakeModel());
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{20000, 20000};
    setrlimit(RLIMIT_FSIZE, &limit);
    const auto report = Run(source, {.output = dir_ / "out"}, nullptr, 1);
    _exit(report.status().code() == absl::StatusCode::kResourceExhausted ? 7 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 7);
  ExpectOnly({"model"});
}

TEST_F(QuantizeJobTest, Stories260K) {
  const auto model = SharedData("models/stories260K-hf");
  if (!model) GTEST_SKIP() << "SKIPPED: stories260K-hf needs shared data";
  std::array<std::vector<PrecisionReport>, 3> totals;
  size_t m = 0;
  for (const MethodInfo& method : AllMethods()) {
    const auto report = Run(*model, {.output = dir_ / method.name, .method = method.name});
    ASSERT_THAT(report, IsOk());
    totals[m] = report->totals;
    for (const PrecisionReport& p : totals[m]) {
      std::printf("%-8s %d bits: %.3f bits per weight, relative error %.4f\n", method.name, p.bits,
                  p.bits_per_weight, p.relative_error);
    }
    ++m;
  }
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_LT(totals[0][i].relative_error, totals[1][i].relative_error);
    EXPECT_LT(totals[0][i].relative_error, totals[2][i].relative_error);
    EXPECT_TRUE(i == 0 || totals[0][i].relative_error < totals[0][i - 1].relative_error);
  }
}

}  // namespace
}  // namespace bitdial::quant
