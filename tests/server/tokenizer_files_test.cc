// Tokenizer files that are damaged, hostile or beyond what we have.
#include "server/tokenizer/tokenizer_files.h"

#include <cmath>

#include "server/tokenizer/added_tokens.h"
#include "server/tokenizer/charsmap.h"
#include "server/tokenizer/sentencepiece_model.h"
#include "tests/server/tokenizer_testing.h"

namespace bitdial::server {
namespace {

using ::testing::HasSubstr;

Json GoldenModel(const char* name) {
  return ReadGolden(GoldenPath(std::string("tokenizer/") + name + "/tokenizer.json"));
}

struct Refusal {
  const char* what;  // JSON pointer
  Json value;        // put there
  absl::StatusCode code;
  const char* message;
};

void ExpectRefused(const Json& original, const Refusal& refusal) {
  SCOPED_TRACE(refusal.what + refusal.value.dump());
  Json changed = original;
  changed[Json::json_pointer(refusal.what)] = refusal.value;
  const auto tokenizer = TokenizerFromJson(changed, {}, "tokenizer.json");
  EXPECT_EQ(tokenizer.status().code(), refusal.code) << tokenizer.status();
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr(refusal.message));
}

TEST(TokenizerJsonTest, RefusesWhatItDoesNotHaveByName) {
  const Json model = GoldenModel("smollm");
  constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
  const Json split = {
      {"type", "Split"}, {"behavior", "Isolated"}, {"pattern", {{"Regex", "\\w+"}}}};
  const Refusal refusals[] = {
      {"/model/type", "Unigram", kUnimplemented, "model type \"Unigram\""},
      {"/model/dropout", 0.1, kUnimplemented, "dropout is 0.1"},
      {"/model/continuing_subword_prefix", "##", kUnimplemented, "continuing_subword_prefix"},
      {"/model/end_of_word_suffix", "</w>", kUnimplemented, "end_of_word_suffix"},
      {"/normalizer", {{"type", "NFC"}}, kUnimplemented, "NFC"},
      {"/pre_tokenizer", {{"type", "Whitespace"}}, kUnimplemented, "\"Whitespace\""},
      {"/pre_tokenizer", split, kUnimplemented, "\\w+"},
      {"/pre_tokenizer/pretokenizers/0/type", "Punctuation", kUnimplemented, "\"Punctuation\""},
      {"/pre_tokenizer/pretokenizers/1/add_prefix_space", true, kUnimplemented, "add_prefix_space"},
      {"/post_processor", {{"type", "RobertaProcessing"}}, kUnimplemented, "\"RobertaProcessing\""},
      {"/decoder", {{"type", "WordPiece"}}, kUnimplemented, "\"WordPiece\""},
      {"/added_tokens/0/single_word", true, kUnimplemented, "single_word"},
  };
  for (const Refusal& refusal : refusals) ExpectRefused(model, refusal);
}

TEST(TokenizerJsonTest, RefusesWhatIsMalformed) {
  const Json model = GoldenModel("llama3");
  constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
  const Json bad_template = {{"type", "TemplateProcessing"},
                             {"single", Json::array({{{"SpecialToken", {{"id", "x"}}}}})}};
  const Refusal refusals[] = {
      {"/model", nullptr, kDataLoss, "no model"},
      {"/model/vocab", Json::array(), kDataLoss, "vocab"},
      {"/model/vocab/a", -1, kDataLoss, "has id -1"},
      {"/model/vocab/a", "1", kDataLoss, "has id"},
      {"/model/vocab/a", 1.5, kDataLoss, "has id 1.5"},
      {"/model/vocab/a", uint64_t{1} << 63, kDataLoss, "has id"},
      {"/model/vocab/a", 4000000000, kDataLoss, "has id"},
      {"/model/vocab/a", 0, kDataLoss, "have one id"},
      {"/model/merges", "a b", kDataLoss, "merges"},
      {"/model/merges/0", "ab", kDataLoss, "expected two tokens"},
      {"/model/merges/0", "a b c", kDataLoss, "expected two tokens"},
      {"/model/merges/0", Json::array({"a"}), kDataLoss, "expected two tokens"},
      {"/model/merges/0", "nosuch token", kDataLoss, "is no token"},
      {"/model/ignore_merges", "yes", kDataLoss, "ignore_merges"},
      {"/added_tokens", 1, kDataLoss, "added_tokens is no list"},
      {"/added_tokens/0/id", -5, kDataLoss, "id"},
      {"/added_tokens/0/id", 1 << 30, kDataLoss, "id"},
      {"/added_tokens/0/id", 0, kDataLoss, "the vocabulary has"},
      {"/added_tokens/0/content", "", kDataLoss, "no content"},
      {"/post_processor", bad_template, kDataLoss, "names no special token"},
      {"/pre_tokenizer/pretokenizers", 3, kDataLoss, "pretokenizers"},
  };
  for (const Refusal& refusal : refusals) ExpectRefused(model, refusal);
}

TEST(TokenizerJsonTest, TemplateIdsMustExist) {
  Json model = GoldenModel("llama3");
  model[Json::json_pointer("/post_processor/processors/1/special_tokens/<|begin_of_text|>/ids/0")] =
      99999;
  EXPECT_EQ(TokenizerFromJson(model, {}, "x").status().code(), absl::StatusCode::kDataLoss);
}

// Bytes changed anywhere: an answer or an error, and the answer works.
template <typename Load>
void Mutate(const std::string& original, size_t num_rounds, size_t* num_loaded, const Load& load) {
  std::mt19937_64 random(11);
  for (size_t round = 0; round < num_rounds; ++round) {
    std::string bytes = original;
    if (round % 3 == 0) bytes.resize(random() % bytes.size());
    for (uint64_t flips = round % 3 == 0 ? 0 : 1 + random() % 4; flips > 0; --flips) {
      char& byte = bytes[random() % bytes.size()];
      byte = round % 3 == 1 ? static_cast<char>(byte ^ (1 << (random() % 8)))
                            : static_cast<char>(random());
    }
    const std::unique_ptr<Tokenizer> tokenizer = load(bytes);
    if (tokenizer == nullptr) continue;
    ++*num_loaded;
    const auto ids = tokenizer->Encode("The server reads\n 123 <|endoftext|> 你好 ﬁ … AAA", {});
    if (ids.ok()) tokenizer->Decode(*ids);
    ExpectStreamsAsDecoded(*tokenizer, round);
  }
}

TEST(MutationTest, TokenizerJson) {
  size_t num_loaded = 0;
  Mutate(ReadText(GoldenPath("tokenizer/llama3/tokenizer.json")), 200, &num_loaded,
         [](const std::string& bytes) {
           const auto json = ParseJson(bytes, "mutated");
           if (!json.ok()) return std::unique_ptr<Tokenizer>();
           auto tokenizer = TokenizerFromJson(*json, {}, "mutated");
           return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
         });
  std::printf("tokenizer.json: %zu of 200 mutations still load\n", num_loaded);
}

TEST(MutationTest, SentencePiece) {
  for (const char* name : {"spm_bpe", "spm_unigram"}) {
    size_t num_loaded = 0;
    Mutate(ReadText(GoldenPath(std::string("tokenizer/") + name + "/tokenizer.model")), 400,
           &num_loaded, [](const std::string& bytes) {
             auto tokenizer = TokenizerFromSentencePiece(bytes, {}, "mutated");
             return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
           });
    std::printf("%s: %zu of 400 mutations still load\n", name, num_loaded);
  }
}

// A double array of 768 units whose root state is 256: byte c is looked up in unit 256 ^ c.
class CharsmapBuilder {
 public:
  CharsmapBuilder() : units_(768, 0x80000000u) { units_[0] = 256u << 10; }
  std::vector<uint32_t>& units() { return units_; }

  // Byte c of the root leads to `state`.
  void Lead(uint8_t c, bool has_leaf, uint32_t state) {
    units_[256 ^ c] = c | (has_leaf ? 1u << 8 : 0) | ((state ^ 256 ^ c) << 10);
  }
  std::string Build(const std::string& replacements = std::string("x\0", 2)) const {
    const uint32_t bytes = static_cast<uint32_t>(units_.size() * 4);
    std::string blob(reinterpret_cast<const char*>(&bytes), 4);
    blob.append(reinterpret_cast<const char*>(units_.data()), bytes);
    return blob + replacements;
  }

 private:
  std::vector<uint32_t> units_;
};

TEST(CharsmapTest, TakesAGoodMap) {
  CharsmapBuilder map;
  map.Lead('a', true, 512);  // whose own unit is the value, 0
  EXPECT_EQ(FindCharsmapError(map.Build()), "");
  EXPECT_EQ(FindCharsmapError(""), "");
}

TEST(CharsmapTest, FindsWhatWouldReadOutOfBounds) {
  CharsmapBuilder outside;
  outside.Lead('a', false, 1 << 20);
  EXPECT_THAT(FindCharsmapError(outside.Build()), HasSubstr("outside the double array"));

  CharsmapBuilder root;
  root.units()[0] = (1u << 20) << 10;
  EXPECT_THAT(FindCharsmapError(root.Build()), HasSubstr("outside the double array"));

  CharsmapBuilder value;
  value.Lead('a', true, 512);
  value.units()[512] = 0x80000000u | 1000;
  EXPECT_THAT(FindCharsmapError(value.Build()), HasSubstr("value 1000"));

  CharsmapBuilder cycle;  // "aaaa..." matches for ever
  cycle.Lead('a', true, 256);
  EXPECT_THAT(FindCharsmapError(cycle.Build()), HasSubstr("cycle"));

  CharsmapBuilder good;
  EXPECT_THAT(FindCharsmapError(good.Build("x")), HasSubstr("NUL"));
  EXPECT_THAT(FindCharsmapError(good.Build(std::string("\xff\0", 2))), HasSubstr("UTF-8"));
  EXPECT_THAT(FindCharsmapError(good.Build(std::string(300, 'x') + '\0')), HasSubstr("300 bytes"));
  EXPECT_THAT(FindCharsmapError(good.Build("")), HasSubstr("in a map of"));
  EXPECT_THAT(FindCharsmapError(good.Build().substr(0, 100)), HasSubstr("in a map of"));
  EXPECT_NE(FindCharsmapError("abc"), "");
  EXPECT_NE(FindCharsmapError(std::string("\xff\xff\xff\xff", 4) + "abc"), "");
}

TEST(SentencePieceModelTest, RefusesBadPieces) {
  using Type = SentencePieceModel::Type;
  const std::vector<SentencePieceModel::Piece> good = {{"<unk>", 0, Type::kUnknown},
                                                       {"a", -1, Type::kNormal}};
  std::string error;
  EXPECT_NE(SentencePieceModel::FromPieces(good, {}, &error), nullptr) << error;
  const std::pair<SentencePieceModel::Piece, const char*> cases[] = {
      {{"a", -2, Type::kNormal}, "twice"},
      {{"", -2, Type::kNormal}, "0 bytes"},
      {{std::string(2000, 'x'), -2, Type::kNormal}, "2000 bytes"},
      {{std::string("b\0c", 3), -2, Type::kNormal}, "NUL"},
      {{"\xff", -2, Type::kNormal}, "UTF-8"},
      {{"b", std::nanf(""), Type::kNormal}, "finite"},
      {{"<unk2>", 0, Type::kUnknown}, "unk"},
      {{"<0xZZ>", 0, Type::kByte}, "invalid"},
      {{"\xEF\xAC\x81", 0, Type::kControl}, "one character"},
  };
  for (const auto& [piece, message] : cases) {
    auto pieces = good;
    pieces.push_back(piece);
    EXPECT_EQ(SentencePieceModel::FromPieces(pieces, {}, &error), nullptr);
    EXPECT_THAT(error, HasSubstr(message));
  }
}

// The library's word and character models look control pieces up in the text itself.
TEST(SentencePieceModelTest, RefusesOtherModelTypes) {
  const std::string bpe = ReadText(GoldenPath("tokenizer/spm_bpe/tokenizer.model"));
  std::string error;
  EXPECT_NE(SentencePieceModel::Parse(bpe + "\x12\x02\x18\x02", &error), nullptr) << error;
  for (const char* trainer_spec : {"\x12\x02\x18\x03", "\x12\x02\x18\x04"}) {
    EXPECT_EQ(SentencePieceModel::Parse(bpe + trainer_spec, &error), nullptr);
    EXPECT_THAT(error, HasSubstr("model type"));
  }
}

// Our streaming detokenizer against the library's own decoder, on ids of every kind.
TEST(SentencePieceModelTest, DecodesAsTheLibraryDoes) {
  for (const char* name : {"spm_bpe", "spm_unigram"}) {
    const std::string bytes =
        ReadText(GoldenPath(std::string("tokenizer/") + name + "/tokenizer.model"));
    std::string error;
    const auto model = SentencePieceModel::Parse(bytes, &error);
    ASSERT_NE(model, nullptr) << error;
    const auto tokenizer = TokenizerFromSentencePiece(bytes, {}, name);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    std::mt19937_64 random(3);
    for (int round = 0; round < 2000; ++round) {
      std::vector<int32_t> ids(random() % 12);
      for (int32_t& id : ids) id = static_cast<int32_t>(random() % model->pieces().size());
      ASSERT_EQ((*tokenizer)->Decode(ids), model->Decode(ids)) << ::testing::PrintToString(ids);
    }
  }
}

// Long texts are cut into chunks at spaces: the ids must be those of the text in one, which a piece
// that crosses a space enforces without ever being used.
TEST(SentencePieceModelTest, ChunksChangeNothing) {
  using Type = SentencePieceModel::Type;
  std::string error;
  const auto trained =
      SentencePieceModel::Parse(ReadText(GoldenPath("tokenizer/spm_bpe/tokenizer.model")), &error);
  ASSERT_NE(trained, nullptr) << error;
  auto pieces = trained->pieces();
  const auto in_chunks = SentencePieceModel::FromPieces(pieces, {}, &error);
  ASSERT_NE(in_chunks, nullptr) << error;
  pieces.push_back({"zz\xE2\x96\x81zz", -1e6f, Type::kNormal});
  const auto in_one = SentencePieceModel::FromPieces(pieces, {}, &error);
  ASSERT_NE(in_one, nullptr) << error;

  std::mt19937_64 random(5);
  const std::string units[] = {"the server",     " ", " ",    "  ", "\xE2\x96\x81", "reads", "\n",
                               " \xE2\x96\x81 ", "é", "<sep>"};
  for (int round = 0; round < 50; ++round) {
    std::string text;
    while (text.size() < 20000) text += units[random() % std::size(units)];
    if (round % 2 == 0) text += "   ";
    std::vector<int32_t> expected, got;
    ASSERT_EQ(in_one->Encode(text, &expected), "");
    ASSERT_EQ(in_chunks->Encode(text, &got), "");
    ASSERT_EQ(got, expected) << round;
  }
}

// vocab.json and merges.txt of OPT's form, where nothing else is said.
class VocabAndMergesTest : public ::testing::Test {
 protected:
  VocabAndMergesTest() {
    for (const char* name : {"vocab.json", "merges.txt"})
      folder_.Copy(GoldenPath(std::string("tokenizer/opt/") + name), name);
  }
  void ExpectDataLoss(const char* message) {
    const auto tokenizer = Tokenizer::Load(folder_.path());
    EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kDataLoss) << tokenizer.status();
    EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr(message));
    EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr(folder_.path()));
  }
  const TemporaryFolder folder_;
};

TEST_F(VocabAndMergesTest, AFairseqVocabularyIsOpts) {
  const auto tokenizer = LoadOrFail(folder_.path());
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->bos_id(), 2);
  EXPECT_EQ(tokenizer->eos_ids(), std::vector<int32_t>{2});
  EXPECT_EQ(Ids(*tokenizer, "<pad></s>", {}), (std::vector<int32_t>{2, 1, 2}));
  EXPECT_EQ(tokenizer->Decode({2, 1}), "");
  folder_.Write("tokenizer_config.json", R"({"add_bos_token": false, "bos_token": "<s>"})");
  const auto told = LoadOrFail(folder_.path());
  ASSERT_NE(told, nullptr);
  EXPECT_EQ(told->bos_id(), 0);
  EXPECT_THAT(Ids(*told, "", {}), ::testing::IsEmpty());
  Json vocab = ReadGolden(folder_.path() + "/vocab.json");
  std::swap(vocab["<s>"], vocab["<pad>"]);
  folder_.Write("vocab.json", vocab.dump());
  folder_.Write("tokenizer_config.json", "{}");
  const auto other = LoadOrFail(folder_.path());
  ASSERT_NE(other, nullptr);
  EXPECT_THAT(Ids(*other, "", {}), ::testing::IsEmpty());
}

TEST_F(VocabAndMergesTest, OldFilesSayWhatTheConfigDoesNot) {
  const int32_t next = static_cast<int32_t>(ReadGolden(folder_.path() + "/vocab.json").size());
  folder_.Write("tokenizer_config.json", R"({"add_bos_token": true, "bos_token": "<pad>"})");
  folder_.Write("special_tokens_map.json",
                R"({"bos_token": "<s>", "eos_token": {"content": "<unk>"},
                    "additional_special_tokens": ["<end>"]})");
  const Json ids = {{"<end>", next}, {"<tool>", next + 1}};
  folder_.Write("added_tokens.json", ids.dump());
  const auto tokenizer = LoadOrFail(folder_.path());
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->bos_id(), 0);
  EXPECT_EQ(tokenizer->eos_ids(), std::vector<int32_t>{3});
  EXPECT_EQ(tokenizer->vocab_size(), next + 2);
  EXPECT_EQ(Ids(*tokenizer, "<end><tool>", {}), (std::vector<int32_t>{0, next, next + 1}));
  EXPECT_EQ(Ids(*tokenizer, "<tool>", kPlainText), std::vector<int32_t>{next + 1});
  EXPECT_EQ(tokenizer->Decode({0, next, next + 1}), "<tool>");

  // The same token as an object: special all the same, never made from plain text.
  folder_.Write("special_tokens_map.json",
                R"({"bos_token": "<s>", "additional_special_tokens": [{"content": "<end>"}]})");
  const auto again = LoadOrFail(folder_.path());
  ASSERT_NE(again, nullptr);
  EXPECT_TRUE(again->IsSpecial(next));
  EXPECT_FALSE(again->IsSpecial(next + 1));
  folder_.Write("special_tokens_map.json", R"({"additional_special_tokens": [7]})");
  ExpectDataLoss("additional_special_tokens");
  folder_.Write("special_tokens_map.json", "{}");

  for (const char* bad : {R"({"<x>": -1})", R"({"<x>": 1.5})", R"({"<x>": 4000000})", "[]"}) {
    folder_.Write("added_tokens.json", bad);
    ExpectDataLoss("added_tokens.json");
  }
  folder_.Write("added_tokens.json", R"({"<x>": 5})");
  ExpectDataLoss("the vocabulary has");
  folder_.Write("added_tokens.json", "{}");
  folder_.Write("special_tokens_map.json", R"({"bos_token": 3})");
  ExpectDataLoss("special_tokens_map.json");
}

TEST_F(VocabAndMergesTest, FilesOfTwoTokenizersAreRefused) {
  const std::string merges = ReadText(folder_.path() + "/merges.txt");
  folder_.Write("merges.txt", merges + "t quux\n");
  ExpectDataLoss("\"quux\" is no token; take vocabulary and merges from one tokenizer");
  folder_.Write("merges.txt", merges + "thr\n");
  ExpectDataLoss("merges.txt: merges line 440: expected two tokens");
  folder_.Write("merges.txt", merges + "a b c\n");
  ExpectDataLoss("expected two tokens");
  folder_.Write("merges.txt", merges + " a\n");
  ExpectDataLoss("\"\" is no token");
  folder_.Write("merges.txt", merges);
  folder_.Write("vocab.json", R"({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4})");
  ExpectDataLoss("is no token");
  folder_.Write("vocab.json", "[]");
  ExpectDataLoss("vocab is a array");
  EXPECT_TRUE(std::filesystem::remove(folder_.path() + "/merges.txt"));
  EXPECT_EQ(Tokenizer::Load(folder_.path()).status().code(), absl::StatusCode::kNotFound);
}

// Half a copy is a list of merges too.
TEST_F(VocabAndMergesTest, MergesCutShortAreRefused) {
  const std::string merges = ReadText(folder_.path() + "/merges.txt");
  for (size_t percent = 5; percent <= 90; percent += 5) {
    SCOPED_TRACE(percent);
    const std::string begin = merges.substr(0, merges.size() * percent / 100);
    folder_.Write("merges.txt", begin.substr(0, begin.rfind('\n') + 1));
    ExpectDataLoss("merges.txt: its ");
    ExpectDataLoss("for one: it is cut short or of another tokenizer; copy it again");
  }
  folder_.Write("merges.txt", "#version: 0.2\n");
  ExpectDataLoss("its 0 merges make 0 of the vocabulary's 438 tokens of several symbols, and not");
}

// Tokens that no merge makes and none has to: special ones, and a few that are just there.
TEST_F(VocabAndMergesTest, AFewTokensThatNoMergeMakesAreNormal) {
  Json vocab = ReadGolden(folder_.path() + "/vocab.json");
  const auto add = [&](const std::string& text) { vocab[text] = vocab.size(); };
  for (int i = 0; i < 8; ++i) add("madeupword" + std::to_string(i));
  for (int i = 0; i < 100; ++i) add("<extra_" + std::to_string(i) + ">");
  Json added = Json::object();
  for (int i = 0; i < 100; ++i) {
    add("added" + std::to_string(i));
    added["added" + std::to_string(i)] = vocab.size() - 1;
  }
  folder_.Write("vocab.json", vocab.dump());
  folder_.Write("added_tokens.json", added.dump());
  EXPECT_NE(LoadOrFail(folder_.path()), nullptr);
  folder_.Write("added_tokens.json", "{}");
  ExpectDataLoss("its 438 merges make 438 of the vocabulary's 546 tokens of several symbols");
}

TEST(MutationTest, VocabAndMerges) {
  const std::string vocab = ReadText(GoldenPath("tokenizer/opt/vocab.json"));
  const std::string merges = ReadText(GoldenPath("tokenizer/opt/merges.txt"));
  const std::string blank(vocab.size(), '\n');  // where a cut loses nothing
  size_t num_loaded = 0;
  Mutate(vocab + '\0' + merges + blank, 300, &num_loaded, [](const std::string& bytes) {
    const size_t nul = std::min(bytes.find('\0'), bytes.size());
    const auto json = ParseJson(bytes.substr(0, nul), "mutated");
    if (!json.ok()) return std::unique_ptr<Tokenizer>();
    auto tokenizer = TokenizerFromVocabAndMerges(
        *json, bytes.substr(std::min(nul + 1, bytes.size())), {}, "mutated");
    return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
  });
  std::printf("vocab.json and merges.txt: %zu of 300 mutations still load\n", num_loaded);
  EXPECT_GT(num_loaded, 0u);
}

TEST(LoadTest, SaysWhatItLookedFor) {
  const TemporaryFolder folder;
  const auto empty = Tokenizer::Load(folder.path());
  EXPECT_EQ(empty.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(empty.status().message()),
              HasSubstr("tokenizer.json, tokenizer.model, vocab.gguf"));
  EXPECT_EQ(Tokenizer::Load(folder.path() + "/nosuch").status().code(),
            absl::StatusCode::kNotFound);
}

TEST(LoadTest, ALinkThatLeadsNowhereIsNamed) {
  for (const std::string name : {"tokenizer.json", "tokenizer.model", "vocab.gguf", "vocab.json",
                                 "merges.txt", "tokenizer_config.json", "special_tokens_map.json",
                                 "added_tokens.json", "chat_template.jinja"}) {
    const TemporaryFolder folder;
    const std::string path = folder.path() + "/" + name;
    const auto expect_refusal = [&](const std::string& target, const char* message) {
      std::filesystem::create_symlink(target, path);
      const absl::Status status = Tokenizer::Load(folder.path()).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << name;
      EXPECT_THAT(std::string(status.message()), HasSubstr(path + message));
      std::filesystem::remove(path);
    };
    expect_refusal(name, ": cannot open: Too many levels");
    expect_refusal("../../blobs/1f", ": is a link to ../../blobs/1f, which is not there; copy");
  }
}

TEST(LoadTest, FallsBackToTheSentencePieceFormOfTheSameTokenizer) {
  const TemporaryFolder folder;
  Json model = GoldenModel("gpt2");
  model["pre_tokenizer"] = {{"type", "Metaspace"}};
  folder.Write("tokenizer.json", model.dump());
  EXPECT_EQ(Tokenizer::Load(folder.path()).status().code(), absl::StatusCode::kUnimplemented);
  folder.Copy(GoldenPath("tokenizer/spm_bpe/tokenizer.model"), "tokenizer.model");
  const auto tokenizer = LoadOrFail(folder.path());
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->kind(), "sentencepiece");
}

TEST(LoadTest, ReadsTokenizerConfig) {
  const TemporaryFolder folder;
  folder.Copy(GoldenPath("tokenizer/spm_bpe/tokenizer.model"), "tokenizer.model");
  folder.Write("tokenizer_config.json",
               R"({"add_bos_token": false, "add_eos_token": true, "eos_token": "<|end|>",
      "chat_template": [{"name": "other", "template": "no"}, {"name": "default", "template": "yes"}],
      "added_tokens_decoder": {"900": {"content": "<|end|>", "special": true},
                               "901": {"content": "<tool>", "special": false}}})");
  const auto tokenizer = LoadOrFail(folder.path());
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->chat_template(), "yes");
  EXPECT_EQ(tokenizer->vocab_size(), 902);
  EXPECT_EQ(tokenizer->eos_ids(), std::vector<int32_t>{900});
  EXPECT_EQ(Ids(*tokenizer, "", {}), std::vector<int32_t>{900});
  EXPECT_EQ(Ids(*tokenizer, "<tool><|end|>", kNothingAdded), (std::vector<int32_t>{901, 900}));
  EXPECT_EQ(Ids(*tokenizer, "<tool>", kPlainText), std::vector<int32_t>{901});
  EXPECT_EQ(tokenizer->Decode({900, 901}), "<tool>");
  folder.Write("tokenizer_config.json", R"({"added_tokens_decoder": {"3": {"content": "wrong"}}})");
  EXPECT_EQ(Tokenizer::Load(folder.path()).status().code(), absl::StatusCode::kDataLoss);
  folder.Write("tokenizer_config.json", R"({"add_bos_token": "yes"})");
  EXPECT_EQ(Tokenizer::Load(folder.path()).status().code(), absl::StatusCode::kDataLoss);
}

TEST(LoadTest, BoundsChatTemplates) {
  const std::string largest(kMaxChatTemplateBytes, 'x');
  const auto load = [&](const std::string& chat_template) {
    const TemporaryFolder folder;
    folder.Copy(GoldenPath("tokenizer/gpt2/tokenizer.json"), "tokenizer.json");
    folder.Write("tokenizer_config.json", Json({{"chat_template", chat_template}}).dump());
    return Tokenizer::Load(folder.path()).status();
  };
  EXPECT_TRUE(load(largest).ok());
  EXPECT_EQ(load(largest + "x").code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(load(largest + "x").message()), HasSubstr("1048577 bytes"));
}

TEST(AddedTokensTest, BoundsTheirContents) {
  const auto added = AddedTokens::Make({{.id = 0, .content = std::string((64 << 20) + 1, 'x')}});
  EXPECT_EQ(added.status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace bitdial::server
