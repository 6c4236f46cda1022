// Tokenizers from GGUF metadata: the same model as a tokenizer.model file gives the same ids, and
// damaged metadata is refused by name. Real vocabularies: tokenizer_shared_vectors_test.cc.
#include <cmath>

#include "server/tokenizer/tokenizer_files.h"
#include "tests/server/gguf_vocab.h"
#include "tests/server/tokenizer_testing.h"

namespace bitdial::server {
namespace {

using testing::GgufBuilder;
using ::testing::HasSubstr;
using Piece = SentencePieceModel::Piece;
using Type = SentencePieceModel::Type;

absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const GgufBuilder& builder) {
  const std::string bytes = builder.Build();
  const auto file = quant::GgufFile::Parse(
      quant::MappedFile::CopyOf(std::as_bytes(std::span(bytes.data(), bytes.size())), "m.gguf"));
  if (!file.ok()) return file.status();
  return TokenizerFromGguf(**file);
}

// tokenizer/spm_bpe, whose vectors are libsentencepiece's own.
class SpmBpeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string error;
    const std::string bytes = ReadText(GoldenPath("tokenizer/spm_bpe/tokenizer.model"));
    model_ = SentencePieceModel::Parse(bytes, &error);
    ASSERT_NE(model_, nullptr) << error;
    AddPieces(model_->pieces(), &builder_);
  }
  std::unique_ptr<SentencePieceModel> model_;
  GgufBuilder builder_;
};

TEST_F(SpmBpeTest, AgreesWithTheLibrary) {
  const auto tokenizer = Load(builder_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->kind(), "sentencepiece");
  const Json golden = ReadGolden(GoldenPath("tokenizer/spm_bpe/vectors.json"));
  for (const Json& entry : golden["texts"]) {
    const std::string text = entry["text"].get<std::string>();
    EXPECT_EQ(Ids(**tokenizer, text, kPlainText), entry["ids"].get<std::vector<int32_t>>())
        << ::testing::PrintToString(text);
  }
  for (const Json& entry : golden["decodes"]) {
    EXPECT_EQ((*tokenizer)->Decode(entry["ids"].get<std::vector<int32_t>>()),
              entry["text"].get<std::string>())
        << entry["ids"].dump();
  }
  EXPECT_GT(golden["texts"].size(), 300u);
  EXPECT_GT(golden["decodes"].size(), 100u);
  ExpectStreamsAsDecoded(**tokenizer, 6);
}

// What quantize copies into its output folder.
TEST_F(SpmBpeTest, IsTheSameFromVocabGguf) {
  const TemporaryFolder folder;
  builder_.AddU32("tokenizer.ggml.bos_token_id", 1).AddU32("tokenizer.ggml.eos_token_id", 2);
  folder.Write("source.gguf", builder_.Build());
  const auto source = quant::GgufFile::Open(folder.path() + "/source.gguf");
  ASSERT_TRUE(source.ok()) << source.status();
  ASSERT_TRUE(quant::WriteVocabGguf(**source, folder.path() + "/vocab.gguf").ok());
  const auto from_file = LoadOrFail(folder.path() + "/source.gguf");
  const auto from_folder = LoadOrFail(folder.path());
  ASSERT_TRUE(from_file != nullptr && from_folder != nullptr);
  const std::string text = "The server <s>reads</s>\n 123 <sep> 你好";
  EXPECT_EQ(Ids(*from_file, text, {}), Ids(*from_folder, text, {}));
  EXPECT_EQ(from_folder->bos_id(), 1);
  EXPECT_EQ(from_folder->eos_ids(), std::vector<int32_t>{2});
}

TEST_F(SpmBpeTest, TheFileSaysWhatStandsAroundAText) {
  GgufBuilder with_ids = builder_;
  with_ids.AddU32("tokenizer.ggml.bos_token_id", 1).AddU32("tokenizer.ggml.eos_token_id", 2);
  EXPECT_EQ(Ids(**Load(with_ids), "", {}), std::vector<int32_t>{1});  // as Llama: BOS alone
  GgufBuilder with_eos = with_ids;
  with_eos.AddBool("tokenizer.ggml.add_eos_token", true);
  EXPECT_EQ(Ids(**Load(with_eos), "", {}), (std::vector<int32_t>{1, 2}));
  GgufBuilder bare = with_ids;
  bare.AddBool("tokenizer.ggml.add_bos_token", false);
  EXPECT_THAT(Ids(**Load(bare), "", {}), ::testing::IsEmpty());
  GgufBuilder no_prefix = with_ids;
  no_prefix.AddBool("tokenizer.ggml.add_space_prefix", false);
  EXPECT_EQ((*Load(no_prefix))->Decode(Ids(**Load(no_prefix), " the", {})), " the");
  EXPECT_NE(Ids(**Load(no_prefix), "the", {}), Ids(**Load(with_ids), "the", {}));
  EXPECT_EQ(Ids(**Load(no_prefix), " the", {}), Ids(**Load(with_ids), "the", {}));
}

TEST_F(SpmBpeTest, ControlTokensAreFoundOnlyWhereAllowed) {
  const auto tokenizer = Load(builder_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT(Ids(**tokenizer, "a</s>b", kNothingAdded), ::testing::Contains(2));
  EXPECT_THAT(Ids(**tokenizer, "a</s>b", kPlainText), ::testing::Not(::testing::Contains(2)));
  EXPECT_EQ((*tokenizer)->TokenBytes(2, false), "");
  EXPECT_EQ((*tokenizer)->TokenBytes(2, true), "</s>");
}

// Small enough to be spoilt in one place: <unk>, <s>, the space mark, a, b, "ab".
std::vector<Piece> FewPieces() {
  return {
      {"<unk>", 0, Type::kUnknown}, {"<s>", 0, Type::kControl}, {"\xE2\x96\x81", -1, Type::kNormal},
      {"a", -2, Type::kNormal},     {"b", -3, Type::kNormal},   {"ab", -4, Type::kNormal}};
}

GgufBuilder Vocab(const std::vector<Piece>& pieces) {
  GgufBuilder builder;
  AddPieces(pieces, &builder);
  return builder;
}

// llama.cpp's converter writes the spaces of user-defined tokens as spaces, SentencePiece has
// marks.
TEST(SentencePieceGgufTest, UserDefinedTokensMayHoldSpaces) {
  std::vector<Piece> pieces = FewPieces();
  pieces.push_back({"b  a", 0, Type::kUserDefined});
  const auto tokenizer = Load(Vocab(pieces));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ(Ids(**tokenizer, "ab  ab", kPlainText), (std::vector<int32_t>{2, 3, 6, 4}));
  EXPECT_EQ((*tokenizer)->Decode({2, 3, 6, 4}), "ab  ab");
}

// Padding of the vocabulary is called unknown too; the key says which piece is.
TEST(SentencePieceGgufTest, OnePieceIsTheUnknownOne) {
  std::vector<Piece> pieces = FewPieces();
  pieces[0] = {"<pad0>", 0, Type::kUnknown};
  pieces.push_back({"<unk>", 0, Type::kControl});
  pieces.push_back({"<pad1>", 0, Type::kUnknown});
  GgufBuilder builder = Vocab(pieces);
  builder.AddU32("tokenizer.ggml.unknown_token_id", 6);
  const auto tokenizer = Load(builder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ(Ids(**tokenizer, "azb", kPlainText), (std::vector<int32_t>{2, 3, 6, 4}));
  EXPECT_EQ((*tokenizer)->Decode({3, 0, 7, 4}), "ab");  // padding is not text
}

void ExpectRefused(const GgufBuilder& builder, absl::StatusCode code, const char* message) {
  const auto tokenizer = Load(builder);
  EXPECT_EQ(tokenizer.status().code(), code) << tokenizer.status();
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr(message));
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("m.gguf"));
}

TEST(SentencePieceGgufTest, RefusesDamagedPieces) {
  constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
  const std::pair<Piece, const char*> cases[] = {
      {{"a", -5, Type::kNormal}, "there twice"},
      {{"", -5, Type::kNormal}, "0 bytes"},
      {{std::string(2000, 'x'), -5, Type::kNormal}, "2000 bytes"},
      {{std::string("b\0c", 3), -5, Type::kNormal}, "NUL"},
      {{"\xff", -5, Type::kNormal}, "UTF-8"},
      {{"c", std::nanf(""), Type::kNormal}, "no finite score"},
      {{"c", INFINITY, Type::kNormal}, "no finite score"},
      {{"c", -5, static_cast<Type>(0)}, "token 6 has type 0"},
      {{"c", -5, static_cast<Type>(7)}, "token 6 has type 7"},
      {{"<0x41>", 0, Type::kByte}, "byte"},  // one of 256
  };
  for (const auto& [piece, message] : cases) {
    std::vector<Piece> pieces = FewPieces();
    pieces.push_back(piece);
    ExpectRefused(Vocab(pieces), kDataLoss, message);
  }
}

TEST(SentencePieceGgufTest, RefusesDamagedMetadata) {
  using absl::StatusCode;
  GgufBuilder empty;
  AddPieces({}, &empty);
  ExpectRefused(empty, StatusCode::kDataLoss, "0 tokens");
  ExpectRefused(Vocab(FewPieces()).AddString("tokenizer.ggml.precompiled_charsmap", "x"),
                StatusCode::kUnimplemented, "precompiled_charsmap");
  for (const char* id : {"bos", "eos", "eot", "eom", "unknown"}) {
    const std::string key = std::string("tokenizer.ggml.") + id + "_token_id";
    ExpectRefused(Vocab(FewPieces()).AddU32(key, 6), StatusCode::kDataLoss, key.c_str());
  }
  ExpectRefused(Vocab(FewPieces()).AddU32("tokenizer.ggml.add_bos_token", 1), StatusCode::kDataLoss,
                "add_bos_token");
  ExpectRefused(Vocab(FewPieces()).AddString("tokenizer.chat_template", "\xff"),
                StatusCode::kDataLoss, "tokenizer.chat_template is not UTF-8");
  const auto with_scores = [](const char* key, uint32_t type, uint64_t count) {
    GgufBuilder builder;
    builder.AddString("tokenizer.ggml.model", "llama");
    builder.AddArray("tokenizer.ggml.tokens", 8, 1, GgufBuilder::String("a"));
    return builder.AddArray(key, type, count, std::string(4 * count, '\0'));
  };
  ExpectRefused(with_scores("other", 6, 1), StatusCode::kNotFound, "tokenizer.ggml.scores");
  ExpectRefused(with_scores("tokenizer.ggml.scores", 6, 2), StatusCode::kDataLoss,
                "1 tokens and 2 scores");
  ExpectRefused(with_scores("tokenizer.ggml.scores", 5, 1), StatusCode::kDataLoss, "f32");
  ExpectRefused(with_scores("tokenizer.ggml.token_type", 5, 2), StatusCode::kDataLoss,
                "1 tokens and 2 token types");
}

TEST(TokenizerGgufTest, RefusesOtherModelsByName) {
  ExpectRefused(GgufBuilder(), absl::StatusCode::kNotFound, "tokenizer.ggml.model");
  ExpectRefused(GgufBuilder().AddString("tokenizer.ggml.model", "t5"),
                absl::StatusCode::kUnimplemented, "\"t5\"");
}

// "a", "b" and "ab" under the pre-tokenizer `pre`, with one merge.
GgufBuilder ByteLevelVocab(const char* pre, const char* merge) {
  GgufBuilder builder;
  std::string tokens, merges = GgufBuilder::String(merge);
  for (const char* token : {"a", "b", "ab"}) tokens += GgufBuilder::String(token);
  return builder.AddString("tokenizer.ggml.model", "gpt2")
      .AddString("tokenizer.ggml.pre", pre)
      .AddArray("tokenizer.ggml.tokens", 8, 3, tokens)
      .AddArray("tokenizer.ggml.merges", 8, 1, merges);
}

TEST(ByteLevelGgufTest, RefusesWhatItDoesNotHaveAndWhatIsDamaged) {
  using absl::StatusCode;
  EXPECT_TRUE(Load(ByteLevelVocab("gpt-2", "a b")).ok());
  ExpectRefused(ByteLevelVocab("chatglm-bpe", "a b"), StatusCode::kUnimplemented,
                "\"chatglm-bpe\"");
  ExpectRefused(ByteLevelVocab("gpt-2", "ab"), StatusCode::kDataLoss, "\"ab\" is not two tokens");
  const auto no_token = Load(ByteLevelVocab("gpt-2", "a z"));
  EXPECT_EQ(no_token.status().code(), StatusCode::kDataLoss) << no_token.status();
}

}  // namespace
}  // namespace bitdial::server
