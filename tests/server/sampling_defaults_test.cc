#include "server/model/sampling_defaults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"

namespace bitdial::server {
namespace {

using absl::StatusCode;
using bitdial::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class OnlyGenerationConfig : public quant::Checkpoint {
 public:
  explicit OnlyGenerationConfig(const char* text) {
    path_ = "folder";
    generation_config_ = Json::parse(text);
  }
  quant::CheckpointForm form() const override { return quant::CheckpointForm::kHuggingFace; }
  std::string tokenizer_path() const override { return path_; }
  const std::vector<quant::TensorInfo>& tensors() const override { return tensors_; }
  absl::StatusOr<quant::DenseTensor> ReadDense(const std::string& name) const override {
    return NotFound("{}", name);
  }

 private:
  const std::vector<quant::TensorInfo> tensors_;
};

absl::StatusOr<SamplingDefaults> Read(const char* text) {
  return ReadSamplingDefaults(OnlyGenerationConfig(text));
}

TEST(SamplingDefaults, ComeFromTheFile) {
  const SamplingDefaults defaults =
      Read(R"({"do_sample": true, "temperature": 0.6, "top_p": 0.9, "top_k": 50, "min_p": 0.1,
               "repetition_penalty": 1.2, "max_length": 4096})")
          .value();
  EXPECT_EQ(defaults.temperature, 0.6f);
  EXPECT_EQ(defaults.top_p, 0.9f);
  EXPECT_EQ(defaults.top_k, 50);
  EXPECT_EQ(defaults.min_p, 0.1f);
  EXPECT_EQ(defaults.repetition_penalty, 1.2f);
}

TEST(SamplingDefaults, AreTheProtosWhereTheFileIsSilent) {
  for (const char* text : {"{}", R"({"temperature": null, "top_k": null, "do_sample": null})",
                           R"({"do_sample": true})"}) {
    const SamplingDefaults defaults = Read(text).value();
    EXPECT_EQ(defaults.temperature, 1.0f) << text;
    EXPECT_EQ(defaults.top_p, 1.0f);
    EXPECT_EQ(defaults.top_k, 0);
    EXPECT_EQ(defaults.min_p, 0.0f);
    EXPECT_EQ(defaults.repetition_penalty, 1.0f);
  }
}

TEST(SamplingDefaults, WithoutSamplingTheyAreGreedy) {
  const SamplingDefaults defaults =
      Read(R"({"do_sample": false, "temperature": 0.6, "top_p": 0.9})").value();
  EXPECT_EQ(defaults.temperature, 0.0f);
  EXPECT_EQ(defaults.top_p, 0.9f);  // for a request that sets a temperature alone
  EXPECT_EQ(Read(R"({"temperature": 0.6})").value().temperature, 0.6f);  // do_sample absent
}

TEST(SamplingDefaults, WrongValuesAreRefusedByFileAndKey) {
  const std::pair<const char*, const char*> cases[] = {
      {"temperature", R"({"temperature": -0.1})"},
      {"temperature", R"({"temperature": 101})"},
      {"temperature", R"({"temperature": "0.6"})"},
      {"temperature", R"({"do_sample": false, "temperature": "0.6"})"},
      {"top_p", R"({"top_p": 0})"},
      {"top_p", R"({"top_p": 1.5})"},
      {"top_k", R"({"top_k": -1})"},
      {"top_k", R"({"top_k": 1.5})"},
      {"min_p", R"({"min_p": true})"},
      {"repetition_penalty", R"({"repetition_penalty": 0})"},
      {"do_sample", R"({"do_sample": 0})"},
      {"do_sample", R"({"do_sample": "false"})"},
  };
  for (const auto& [key, text] : cases) {
    EXPECT_THAT(Read(text),
                StatusIs(StatusCode::kDataLoss,
                         AllOf(HasSubstr("folder/generation_config.json: \"" + std::string(key)),
                               HasSubstr("remove the key"))))
        << text;
  }
}

}  // namespace
}  // namespace bitdial::server
