// Every tokenizer against other people's vectors on real vocabularies (shared data).
#include "tests/server/tokenizer_testing.h"

namespace bitdial::server {
namespace {

struct Tally {
  size_t run = 0, skipped = 0;
  void Print(const std::string& name) const {
    std::printf("%s: %zu run, %zu skipped\n", name.c_str(), run, skipped);
  }
};

std::vector<std::string> SplitBy(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  for (size_t begin = 0;;) {
    const size_t end = text.find(separator, begin);
    parts.push_back(text.substr(begin, end - begin));
    if (end == std::string::npos) return parts;
    begin = end + separator.size();
  }
}

std::vector<int32_t> ParseIds(const std::string& line) {
  std::vector<int32_t> ids;
  for (size_t ofs = 0; ofs < line.size();) {
    if (std::isdigit(static_cast<unsigned char>(line[ofs])) == 0) {
      ++ofs;
      continue;
    }
    size_t length = 0;
    ids.push_back(std::stoi(line.substr(ofs), &length));
    ofs += length;
  }
  return ids;
}

// Strings from NAME.inp, ids from NAME.out (llama.cpp's format), and byte for byte back.
Tally ExpectGgmlVectors(const Tokenizer& tokenizer, const std::string& name) {
  const auto inputs = testing::SharedData("vectors/ggml-vocab/ggml-vocab-" + name + ".gguf.inp");
  const auto outputs = testing::SharedData("vectors/ggml-vocab/ggml-vocab-" + name + ".gguf.out");
  EXPECT_TRUE(inputs && outputs);
  Tally tally;
  if (!inputs || !outputs) return tally;
  const std::vector<std::string> texts = SplitBy(ReadText(*inputs), "\n__ggml_vocab_test__\n");
  const std::vector<std::string> lines = SplitBy(ReadText(*outputs), "\n");
  EXPECT_GE(lines.size(), texts.size());
  for (size_t i = 0; i < texts.size() && i < lines.size(); ++i) {
    const std::vector<int32_t> ids = Ids(tokenizer, texts[i], kPlainText);
    EXPECT_EQ(ids, ParseIds(lines[i]))
        << name << " " << i << ": " << ::testing::PrintToString(texts[i]);
    EXPECT_EQ(tokenizer.Decode(ids), texts[i]) << name << " " << i;
    ++tally.run;
  }
  EXPECT_GT(tally.run, 40u);
  return tally;
}

struct GgmlCase {
  const char* vectors;
  const char* tokenizer;
};
class GgmlVectorsTest : public ::testing::TestWithParam<GgmlCase> {};

TEST_P(GgmlVectorsTest, Agrees) {
  const auto path = testing::SharedData(GetParam().tokenizer);
  if (!path) GTEST_SKIP() << "SKIPPED: " << GetParam().tokenizer << " needs shared data";
  const auto tokenizer = LoadOrFail(*path);
  ASSERT_NE(tokenizer, nullptr);
  ExpectGgmlVectors(*tokenizer, GetParam().vectors)
      .Print(std::string(GetParam().vectors) + " by " + GetParam().tokenizer);
  ExpectStreamsAsDecoded(*tokenizer, 4);
}

INSTANTIATE_TEST_SUITE_P(
    All, GgmlVectorsTest,
    ::testing::Values(GgmlCase{"gpt-2", "tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf"},
                      GgmlCase{"gpt-2", "tokenizers/hf_json/gpt2.tokenizer.json"},
                      GgmlCase{"gpt-2", "tokenizers/gpt2"},
                      GgmlCase{"llama-bpe", "tokenizers/llama3"},
                      GgmlCase{"llama-spm", "tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf"},
                      GgmlCase{"llama-spm", "tokenizers/llama2/tokenizer.model"},
                      GgmlCase{"llama-spm", "tokenizers/hf_json/llama2.tokenizer.json"},
                      GgmlCase{"phi-3", "tokenizers/ggml-vocab/ggml-vocab-phi-3.gguf"}));

TEST(GgmlVectorsTest, MptIsTheOnlyOneLeftOut) {
  const auto folder = testing::SharedData("vectors/ggml-vocab");
  if (!folder) GTEST_SKIP() << "SKIPPED: vectors/ggml-vocab needs shared data";
  const std::set<std::string> known = {"gpt-2", "llama-bpe",   "llama-spm",
                                       "phi-3", "roberta-bpe", "mpt"};
  for (const auto& entry : std::filesystem::directory_iterator(*folder)) {
    const std::string file = entry.path().filename().string(), prefix = "ggml-vocab-";
    const size_t end = file.find(".gguf");
    ASSERT_TRUE(file.rfind(prefix, 0) == 0 && end != std::string::npos) << file;
    EXPECT_TRUE(known.count(file.substr(prefix.size(), end - prefix.size())))
        << file << " is run by no test";
  }
  std::printf("mpt: 0 run, 47 skipped (its vocabulary is not in the shared data)\n");
}

// metaseq's OPT tokenizer, as a Hugging Face folder of its time would have it.
std::unique_ptr<Tokenizer> LoadOpt(const TemporaryFolder& folder) {
  const auto vocab = testing::SharedData("tokenizers/opt/gpt2-vocab.json");
  const auto merges = testing::SharedData("tokenizers/opt/gpt2-merges.txt");
  if (!vocab || !merges) return nullptr;
  folder.Copy(*vocab, "vocab.json");
  folder.Copy(*merges, "merges.txt");
  folder.Write(
      "tokenizer_config.json",
      R"({"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true, "add_prefix_space": false,
                   "bos_token": {"content": "</s>"}, "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"})");
  return LoadOrFail(folder.path());
}

TEST(OptTest, AgreesWithRobertaVectors) {
  const TemporaryFolder folder;
  const auto tokenizer = LoadOpt(folder);
  if (tokenizer == nullptr) GTEST_SKIP() << "SKIPPED: OPT vectors need shared data";
  EXPECT_EQ(Ids(*tokenizer, "", {}), std::vector<int32_t>{2});  // BOS is </s>, no EOS
  ExpectGgmlVectors(*tokenizer, "roberta-bpe").Print("roberta-bpe by OPT");
}

// metaseq's two files alone: the vocabulary itself says how its models were trained.
TEST(OptTest, TwoFilesAreEnough) {
  const TemporaryFolder folder, bare;
  const auto tokenizer = LoadOpt(folder);
  if (tokenizer == nullptr) GTEST_SKIP() << "SKIPPED: OPT vectors need shared data";
  for (const char* name : {"vocab.json", "merges.txt"}) bare.Copy(folder.path() + "/" + name, name);
  const auto by_two = LoadOrFail(bare.path());
  ASSERT_NE(by_two, nullptr);
  for (const char* text : {"", "Hello world", "a</s><pad> b", "<s> <unk> <|endoftext|>"}) {
    EXPECT_EQ(Ids(*by_two, text, {}), Ids(*tokenizer, text, {})) << text;
    EXPECT_EQ(Ids(*by_two, text, kPlainText), Ids(*tokenizer, text, kPlainText)) << text;
  }
  EXPECT_EQ(by_two->vocab_size(), 50265);
  EXPECT_EQ(by_two->bos_id(), 2);
  EXPECT_EQ(by_two->eos_ids(), std::vector<int32_t>{2});
}

// The real vocabularies have few tokens that no merge makes, so a copy that lost 2% is known as
// one.
TEST(MergesTest, RealFilesAreWholeAndCutOnesAreRefused) {
  for (const auto& [vocab_name, merges_name] :
       {std::pair("opt/gpt2-vocab.json", "opt/gpt2-merges.txt"),
        std::pair("gpt2/vocab.json", "gpt2/merges.txt")}) {
    const auto vocab = testing::SharedData(std::string("tokenizers/") + vocab_name);
    const auto merges = testing::SharedData(std::string("tokenizers/") + merges_name);
    if (!vocab || !merges) GTEST_SKIP() << "SKIPPED: real merges need shared data";
    const TemporaryFolder folder;
    folder.Copy(*vocab, "vocab.json");
    const std::string whole = ReadText(*merges);
    folder.Write("merges.txt", whole);
    EXPECT_NE(LoadOrFail(folder.path()), nullptr);
    for (const int percent : {98, 90, 50, 10}) {
      const std::string begin = whole.substr(0, whole.size() * static_cast<size_t>(percent) / 100);
      folder.Write("merges.txt", begin.substr(0, begin.rfind('\n') + 1));
      const auto tokenizer = Tokenizer::Load(folder.path());
      EXPECT_THAT(std::string(tokenizer.status().message()), ::testing::HasSubstr("cut short"))
          << merges_name << " " << percent << "%";
    }
  }
}

// The published ids are of texts we do not have: decoding and encoding again must give them back.
TEST(OptTest, PublishedIdsComeBack) {
  const TemporaryFolder folder;
  const auto tokenizer = LoadOpt(folder);
  if (tokenizer == nullptr) GTEST_SKIP() << "SKIPPED: OPT vectors need shared data";
  for (const char* name : {"mixed", "small", "utf8"}) {
    const auto path = testing::SharedData(std::string("vectors/opt/") + name + "_tokens_opt.txt");
    ASSERT_TRUE(path);
    Tally tally;
    for (const std::string& line : SplitBy(ReadText(*path), "\n")) {
      const std::vector<int32_t> ids = ParseIds(line);
      if (ids.empty()) {
        tally.skipped += line.find("SKIP") != std::string::npos ? 1 : 0;
        continue;
      }
      EXPECT_EQ(Ids(*tokenizer, tokenizer->Decode(ids), kPlainText), ids);
      ++tally.run;
    }
    EXPECT_GT(tally.run, 0u);
    tally.Print(std::string("opt/") + name + " (SKIP: lines the file itself leaves out)");
  }
}

TEST(SentencePieceVectorsTest, Agrees) {
  const std::pair<const char*, const char*> cases[] = {
      {"spm/llama2.jsonl", "tokenizers/llama2/tokenizer.model"},
      {"spm/llama2.jsonl", "tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf"},
      {"spm/tok512.jsonl", "models/stories260K/tok512.model"},
  };
  for (const auto& [vectors, file] : cases) {
    const auto vectors_path = testing::SharedData(std::string("vectors/") + vectors);
    const auto path = testing::SharedData(file);
    if (!vectors_path || !path) GTEST_SKIP() << "SKIPPED: " << vectors << " needs shared data";
    const auto tokenizer = LoadOrFail(*path);
    ASSERT_NE(tokenizer, nullptr);
    Tally tally;
    for (const std::string& line : SplitBy(ReadText(*vectors_path), "\n")) {
      if (line.empty()) continue;
      const auto entry = ParseJson(line, vectors);
      ASSERT_TRUE(entry.ok()) << entry.status();
      const std::vector<int32_t> ids = (*entry)["ids"].get<std::vector<int32_t>>();
      EXPECT_EQ(Ids(*tokenizer, (*entry)["text"].get<std::string>(), kPlainText), ids)
          << line.substr(0, 200);
      EXPECT_EQ(tokenizer->Decode(ids), (*entry)["decoded"].get<std::string>())
          << line.substr(0, 200);
      ++tally.run;
    }
    EXPECT_GT(tally.run, 200u);
    tally.Print(std::string(vectors) + " by " + file);
    ExpectStreamsAsDecoded(*tokenizer, 5);
  }
}

TEST(Llama2Test, PromptEncodings) {
  const auto vectors = testing::SharedData("vectors/llama2c/prompt_encodings.json");
  if (!vectors) GTEST_SKIP() << "SKIPPED: llama2c/prompt_encodings.json needs shared data";
  const Json golden = ReadGolden(*vectors);
  for (const char* file :
       {"tokenizers/llama2/tokenizer.model", "tokenizers/hf_json/llama2.tokenizer.json"}) {
    const auto tokenizer = LoadOrFail(*testing::SharedData(file));
    ASSERT_NE(tokenizer, nullptr);
    Tally tally;
    for (const Json& entry : golden["cases"]) {
      EXPECT_EQ(Ids(*tokenizer, entry["text"].get<std::string>(), {}),
                entry["ids"].get<std::vector<int32_t>>());
      ++tally.run;
    }
    tally.Print(std::string("llama2c/prompt_encodings.json by ") + file);
  }
}

// A megabyte: what is not O(n log n) ends in this test's timeout.
TEST(LargeTextTest, WikiText2RoundTrips) {
  const auto text_path = testing::SharedData("text/wikitext2/wiki.test.raw");
  if (!text_path) GTEST_SKIP() << "SKIPPED: WikiText-2 needs shared data";
  const std::string text = ReadText(*text_path);
  for (const char* file :
       {"tokenizers/llama3", "tokenizers/gpt2", "tokenizers/llama2/tokenizer.model",
        "tokenizers/hf_json/llama2.tokenizer.json"}) {
    const auto tokenizer = LoadOrFail(*testing::SharedData(file));
    ASSERT_NE(tokenizer, nullptr);
    const std::vector<int32_t> ids = Ids(*tokenizer, text, kNothingAdded);
    std::printf("%s: %zu bytes to %zu tokens\n", file, text.size(), ids.size());
    EXPECT_EQ(tokenizer->Decode(ids), text);
  }
}

}  // namespace
}  // namespace bitdial::server
