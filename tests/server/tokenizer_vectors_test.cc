// Every tokenizer against the reference libraries, token by token and byte by byte
// (tests/golden/make_tokenizer_golden.py).
#include "tests/server/tokenizer_testing.h"

namespace bitdial::server {
namespace {

using ::testing::TestWithParam;

struct Counts {
  size_t texts = 0, decodes = 0;
};

Counts ExpectVectors(const Tokenizer& tokenizer, const Json& golden) {
  Counts counts;
  for (const Json& entry : golden["texts"]) {
    const std::string text = entry["text"].get<std::string>();
    EXPECT_EQ(Ids(tokenizer, text, kNothingAdded), entry["ids"].get<std::vector<int32_t>>())
        << ::testing::PrintToString(text);
    if (entry.contains("plain_ids")) {
      EXPECT_EQ(Ids(tokenizer, text, kPlainText), entry["plain_ids"].get<std::vector<int32_t>>())
          << ::testing::PrintToString(text);
    }
    ++counts.texts;
  }
  for (const Json& entry : golden["decodes"]) {
    EXPECT_EQ(tokenizer.Decode(entry["ids"].get<std::vector<int32_t>>()),
              entry["text"].get<std::string>())
        << entry["ids"].dump();
    ++counts.decodes;
  }
  EXPECT_GT(counts.texts, 300u);
  EXPECT_GT(counts.decodes, 100u);
  return counts;
}

struct Flavour {
  const char* name;
  const char* kind;
};
class TrainedTokenizerTest : public TestWithParam<Flavour> {};

TEST_P(TrainedTokenizerTest, AgreesWithReference) {
  const std::string folder = GoldenPath(std::string("tokenizer/") + GetParam().name);
  const auto tokenizer = LoadOrFail(folder);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->kind(), GetParam().kind);
  Json golden = ReadGolden(folder + "/vectors.json");
  // The reference adds what its post-processor says: cut it off where it does.
  const std::vector<int32_t> around = Ids(*tokenizer, "", {});
  for (Json& entry : golden["texts"]) {
    for (const char* key : {"ids", "plain_ids"}) {
      if (entry.contains(key) && !around.empty()) entry[key].erase(0);
    }
  }
  const Counts counts = ExpectVectors(*tokenizer, golden);
  std::printf("%s: %zu texts and %zu decodes run, 0 skipped\n", GetParam().name, counts.texts,
              counts.decodes);
  ExpectStreamsAsDecoded(*tokenizer, 1);
}

INSTANTIATE_TEST_SUITE_P(All, TrainedTokenizerTest,
                         ::testing::Values(Flavour{"gpt2", "byte-level BPE (gpt2)"},
                                           Flavour{"llama3", "byte-level BPE (llama3)"},
                                           Flavour{"qwen2", "byte-level BPE (qwen2)"},
                                           Flavour{"smollm", "byte-level BPE (smollm)"},
                                           Flavour{"strips", "byte-level BPE (gpt2)"},
                                           Flavour{"opt", "byte-level BPE (gpt2)"}),
                         [](const auto& flavour) { return std::string(flavour.param.name); });

class SentencePieceTest : public TestWithParam<const char*> {};

TEST_P(SentencePieceTest, AgreesWithReference) {
  const std::string folder = GoldenPath(std::string("tokenizer/") + GetParam());
  const auto tokenizer = LoadOrFail(folder);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->kind(), "sentencepiece");
  Json golden = ReadGolden(folder + "/vectors.json");
  for (Json& entry :
       golden["texts"]) {  // the library alone does not look for control pieces in the text
    entry["plain_ids"] = entry["ids"];
    entry["ids"] = Json(Ids(*tokenizer, entry["text"].get<std::string>(), kNothingAdded));
  }
  const Counts counts = ExpectVectors(*tokenizer, golden);
  std::printf("%s: %zu texts and %zu decodes run, 0 skipped\n", GetParam(), counts.texts,
              counts.decodes);
  ExpectStreamsAsDecoded(*tokenizer, 2);
}

INSTANTIATE_TEST_SUITE_P(All, SentencePieceTest, ::testing::Values("spm_bpe", "spm_unigram"),
                         [](const auto& flavour) { return std::string(flavour.param); });

TEST(SmolLm2Test, AgreesWithReference) {
  const auto path = SmolLm2();
  if (!path) GTEST_SKIP() << "SKIPPED: SmolLM2 vectors need the model file (BITDIAL_SMOLLM2)";
  const auto tokenizer = LoadOrFail(*path);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->kind(), "byte-level BPE (smollm)");
  EXPECT_EQ(tokenizer->vocab_size(), 49152);
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_ids(), std::vector<int32_t>{2});
  EXPECT_THAT(Ids(*tokenizer, "", {}), ::testing::IsEmpty());  // the file says: no BOS
  EXPECT_FALSE(tokenizer->chat_template().empty());
  const Counts counts =
      ExpectVectors(*tokenizer, ReadGolden(GoldenPath("tokenizer/smollm2/vectors.json")));
  std::printf("smollm2: %zu texts and %zu decodes run, 0 skipped\n", counts.texts, counts.decodes);
  ExpectStreamsAsDecoded(*tokenizer, 3);
}

TEST(TokenizerTest, AddsWhatThePostProcessorSays) {
  const auto tokenizer = LoadOrFail(GoldenPath("tokenizer/llama3"));
  ASSERT_NE(tokenizer, nullptr);
  const auto bos = tokenizer->bos_id();
  ASSERT_TRUE(bos.has_value());
  EXPECT_EQ(tokenizer->TokenBytes(*bos, true), "<|begin_of_text|>");
  EXPECT_EQ(tokenizer->TokenBytes(*bos, false), "");
  EXPECT_TRUE(tokenizer->IsSpecial(*bos));
  EXPECT_EQ(Ids(*tokenizer, "a", {}).front(), *bos);
  EXPECT_NE(Ids(*tokenizer, "a", kNothingAdded).front(), *bos);
}

TEST(TokenizerTest, RefusesInvalidUtf8WithItsOffset) {
  for (const char* name : {"tokenizer/gpt2", "tokenizer/spm_bpe"}) {
    const auto tokenizer = LoadOrFail(GoldenPath(name));
    ASSERT_NE(tokenizer, nullptr);
    const std::pair<std::string, int> cases[] = {
        {"ab\xff", 2},       {"\x80", 0},
        {"a\xc3", 1},        {"\xc0\x80", 0},
        {"\xed\xa0\x80", 0}, {"xyz\xf4\x90\x80\x80", 3},
        {"\xe2\x82", 0},     {"\xf0\x8f\xbf\xbf", 0},
    };
    for (const auto& [text, ofs] : cases) {
      const auto ids = tokenizer->Encode(text, {});
      EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(std::string(ids.status().message()),
                  ::testing::HasSubstr("byte " + std::to_string(ofs) + " of"));
    }
  }
}

// A text of one kind of character must cost neither quadratic time (which ends in this test's
// timeout) nor a deep recursion.
TEST(TokenizerTest, LongRunsRoundTrip) {
  for (const char* name : {"gpt2", "llama3", "smollm", "spm_bpe"}) {
    const auto tokenizer = LoadOrFail(GoldenPath(std::string("tokenizer/") + name));
    ASSERT_NE(tokenizer, nullptr);
    for (const std::string unit : {" ", "a", "\n", "1", "!", "é", "<|", "th"}) {
      std::string text;
      while (text.size() < (200u << 10)) text += unit;
      EXPECT_EQ(tokenizer->Decode(Ids(*tokenizer, text, kNothingAdded)), text)
          << name << " \"" << unit << '"';
    }
  }
}

// The unigram golden has no byte fallback, folds spaces, and knows neither "\n" nor "é".
TEST(TokenizerTest, LongRunsOfUnknownCharactersAreRefused) {
  const auto tokenizer = LoadOrFail(GoldenPath("tokenizer/spm_unigram"));
  ASSERT_NE(tokenizer, nullptr);
  for (const std::string unit : {"\u0416", "é"}) {
    std::string text = "The server reads ";
    for (int i = 0; i < 1024; ++i) text += unit;
    EXPECT_EQ(Ids(*tokenizer, text + " the server", kNothingAdded).size(),
              Ids(*tokenizer, "The server reads " + unit + " the server", kNothingAdded).size());
    for (int i = 0; i < 200 << 10; ++i) text += unit;
    const auto ids = tokenizer->Encode(text, kNothingAdded);
    EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(ids.status().message()),
                ::testing::HasSubstr("more than 1024 characters in a row"));
  }
  for (const std::string unit : {" ", "a", "\n", "1", "th"}) {
    std::string text;
    while (text.size() < (200u << 10)) text += unit;
    const auto ids = tokenizer->Encode(text, kNothingAdded);
    EXPECT_TRUE(ids.ok() || absl::IsInvalidArgument(ids.status())) << ids.status();
  }
}

}  // namespace
}  // namespace bitdial::server
