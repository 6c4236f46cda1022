#include "quant/container/gguf_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>

#include "tests/testing/gguf_builder.h"
#include "tests/testing/shared_data.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace bitdial::quant {
namespace {

using absl::StatusCode;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

absl::StatusOr<std::unique_ptr<GgufFile>> Parse(const std::string& bytes) {
  return GgufFile::Parse(
      MappedFile::CopyOf(std::as_bytes(std::span(bytes.data(), bytes.size())), "m.gguf"));
}

GgufBuilder GoodFile() {
  GgufBuilder builder;
  builder.AddString("general.architecture", "llama")
      .AddU32("u32", 4000000000u)
      .Add("i8", 1, GgufBuilder::Bytes<int8_t>(-3))
      .Add("u64", 10, GgufBuilder::Bytes<uint64_t>(~uint64_t{0}))
      .Add("f64", 12, GgufBuilder::Bytes(0.125))
      .AddF32("f32", 1.5f)
      .AddBool("yes", 1)
      .AddArray(
          "strings", 8, 3,
          GgufBuilder::String("a") + GgufBuilder::String("") + GgufBuilder::String("\xff\xfe"))
      .AddArray("i32s", 5, 2, GgufBuilder::Bytes<int32_t>(-1) + GgufBuilder::Bytes<int32_t>(7))
      .AddArray("f32s", 6, 2, GgufBuilder::Bytes(0.5f) + GgufBuilder::Bytes(-2.0f))
      .AddArray("none", 5, 0, "")
      .AddArray("nested", 9, 1,
                GgufBuilder::Bytes<uint32_t>(0) + GgufBuilder::Bytes<uint64_t>(2) + "xy")
      .AddTensor("a.weight", {3, 2}, 0, std::string(24, 'a'))
      .AddTensor("b.weight", {64}, 8, std::string(68, 'b'));
  return builder;
}

TEST(GgufFileTest, ServesTypedValues) {
  const auto file = Parse(GoodFile().Build());
  ASSERT_THAT(file, IsOk());
  const GgufFile& gguf = **file;
  EXPECT_EQ(gguf.version(), 3u);
  EXPECT_EQ(gguf.num_values(), 12u);
  EXPECT_EQ(gguf.GetString("general.architecture").value(), "llama");
  EXPECT_EQ(gguf.GetStringOr("absent", "x").value(), "x");
  EXPECT_EQ(gguf.GetInt("u32", 0, INT64_MAX).value(), 4000000000);
  EXPECT_EQ(gguf.GetInt("i8", -10, 10).value(), -3);
  EXPECT_EQ(gguf.GetIntOr("absent", 5, 0, 1).value(), 5);
  EXPECT_EQ(gguf.GetFloat("f32").value(), 1.5);
  EXPECT_EQ(gguf.GetFloat("f64").value(), 0.125);
  EXPECT_EQ(gguf.GetFloatOr("absent", 2).value(), 2);
  EXPECT_TRUE(gguf.GetBoolOr("yes", false).value());
  EXPECT_TRUE(gguf.GetBoolOr("absent", true).value());
  EXPECT_THAT(gguf.GetStrings("strings").value(), ElementsAre("a", "", "\xff\xfe"));
  EXPECT_THAT(gguf.GetInts("i32s").value(), ElementsAre(-1, 7));
  EXPECT_THAT(gguf.GetFloats("f32s").value(), ElementsAre(0.5f, -2.0f));
  EXPECT_THAT(gguf.GetInts("none").value(), IsEmpty());
  EXPECT_TRUE(gguf.Has("nested") && gguf.IsArray("nested") && !gguf.IsArray("u32") &&
              !gguf.IsArray("absent"));
}

TEST(GgufFileTest, RefusesAnotherTypeNamingTheKey) {
  const auto file = Parse(GoodFile().Build());
  ASSERT_THAT(file, IsOk());
  const GgufFile& gguf = **file;
  EXPECT_THAT(gguf.GetString("absent"),
              StatusIs(StatusCode::kNotFound, HasSubstr("\"absent\" is missing")));
  EXPECT_THAT(gguf.GetString("u32"),
              StatusIs(StatusCode::kDataLoss, HasSubstr("\"u32\" is u32, expected a string")));
  EXPECT_THAT(gguf.GetInt("f32", 0, 9), StatusIs(StatusCode::kDataLoss, HasSubstr("an integer")));
  EXPECT_THAT(gguf.GetInt("strings", 0, 9),
              StatusIs(StatusCode::kDataLoss, HasSubstr("an array of string")));
  EXPECT_THAT(gguf.GetInt("u64", 0, INT64_MAX), StatusIs(StatusCode::kDataLoss, HasSubstr("u64")));
  EXPECT_THAT(gguf.GetInt("u32", 0, 9),
              StatusIs(StatusCode::kDataLoss, HasSubstr("is 4000000000, expected 0 to 9")));
  EXPECT_THAT(gguf.GetFloat("u32"), StatusIs(StatusCode::kDataLoss, HasSubstr("a float")));
  EXPECT_THAT(gguf.GetBoolOr("u32", true), StatusIs(StatusCode::kDataLoss, HasSubstr("a bool")));
  EXPECT_THAT(gguf.GetStrings("i32s"),
              StatusIs(StatusCode::kDataLoss, HasSubstr("array of strings")));
  EXPECT_THAT(gguf.GetInts("strings"), StatusIs(StatusCode::kDataLoss, HasSubstr("integers")));
  EXPECT_THAT(gguf.GetInts("nested"), StatusIs(StatusCode::kDataLoss, HasSubstr("integers")));
  EXPECT_THAT(gguf.GetFloats("i32s"), StatusIs(StatusCode::kDataLoss, HasSubstr("f32")));
  EXPECT_THAT(gguf.GetInts("u32"), StatusIs(StatusCode::kDataLoss, HasSubstr("an array")));
}

TEST(GgufFileTest, PlacesTensors) {
  const auto file = Parse(GoodFile().Build());
  ASSERT_THAT(file, IsOk());
  const auto& tensors = (*file)->tensors();
  ASSERT_EQ(tensors.size(), 2u);
  EXPECT_EQ(tensors[0].name, "a.weight");
  EXPECT_EQ(tensors[0].type, GgmlType::kF32);
  EXPECT_EQ(tensors[0].shape, (Shape{2, 3}));  // the file has the innermost first
  EXPECT_EQ(tensors[0].data.size(), 24u);
  EXPECT_EQ(tensors[0].data.front(), std::byte{'a'});
  EXPECT_EQ(tensors[1].type, GgmlType::kQ8_0);
  EXPECT_EQ(tensors[1].data.size(), 68u);
  EXPECT_EQ(tensors[1].data.back(), std::byte{'b'});
}

TEST(GgufFileTest, ReadsVersion2AndOtherAlignments) {
  GgufBuilder v2 = GoodFile();
  v2.version = 2;
  EXPECT_THAT(Parse(v2.Build()), IsOk());
  GgufBuilder aligned;
  aligned.alignment = 256;
  aligned.AddU32("general.alignment", 256).AddTensor("t", {2}, 0, "12345678");
  const auto file = Parse(aligned.Build());
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ((*file)->tensors()[0].data.front(), std::byte{'1'});
}

// Its values outnumber the file's bytes three to one.
TEST(GgufFileTest, TheSmallestTypeFillsAFile) {
  const auto file =
      Parse(GgufBuilder().AddTensor("t", {256, 100}, 10, std::string(8400, 'q')).Build());
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ((*file)->tensors()[0].type, GgmlType::kQ2_K);
  EXPECT_EQ((*file)->tensors()[0].data.size(), 8400u);
}

struct BadFile {
  const char* name;
  std::function<std::string()> make;
  StatusCode code;
  const char* message;
};

std::string NestedArrays(int depth) {
  std::string payload = GgufBuilder::Bytes<uint32_t>(0) + GgufBuilder::Bytes<uint64_t>(1) + "x";
  for (int i = 1; i < depth; ++i)
    payload = GgufBuilder::Bytes<uint32_t>(9) + GgufBuilder::Bytes<uint64_t>(1) + payload;
  return GgufBuilder().Add("deep", 9, payload).Build();
}

const BadFile kBadFiles[] = {
    {"empty", [] { return std::string(); }, StatusCode::kDataLoss, "not a GGUF file"},
    {"magic", [] { return std::string("GGML____________________"); }, StatusCode::kDataLoss,
     "not a GGUF file"},
    {"version1",
     [] {
       GgufBuilder b;
       b.version = 1;
       return b.Build();
     },
     StatusCode::kUnimplemented, "GGUF version 1"},
    {"version4",
     [] {
       GgufBuilder b;
       b.version = 4;
       return b.Build();
     },
     StatusCode::kUnimplemented, "GGUF version 4"},
    {"big_endian",
     [] {
       GgufBuilder b;
       b.version = 0x03000000;
       return b.Build();
     },
     StatusCode::kUnimplemented, "big-endian"},
    {"value_count",
     [] {
       GgufBuilder b;
       b.claimed_values = INT64_MAX;
       return b.Build();
     },
     StatusCode::kDataLoss, "cannot fit"},
    {"tensor_count",
     [] {
       GgufBuilder b;
       b.claimed_tensors = INT64_MAX;
       return b.Build();
     },
     StatusCode::kDataLoss, "cannot fit"},
    {"one_value_more",
     [] {
       GgufBuilder b;
       b.claimed_values = 2;
       b.AddString("k", std::string(40, 'v'));
       return b.Build();
     },
     StatusCode::kDataLoss, "truncated inside a metadata key"},
    {"empty_key", [] { return GgufBuilder().AddU32("", 1).Build(); }, StatusCode::kDataLoss,
     "a metadata key of 0 bytes"},
    {"long_key", [] { return GgufBuilder().AddU32(std::string(70000, 'k'), 1).Build(); },
     StatusCode::kDataLoss, "70000 bytes"},
    {"key_not_utf8", [] { return GgufBuilder().AddU32("\xff", 1).Build(); }, StatusCode::kDataLoss,
     "UTF-8"},
    {"duplicate_key", [] { return GgufBuilder().AddU32("k", 1).AddU32("k", 1).Build(); },
     StatusCode::kDataLoss, "\"k\" is there twice"},
    {"value_type", [] { return GgufBuilder().Add("k", 13, "12345678").Build(); },
     StatusCode::kDataLoss, "value type 13"},
    {"bool", [] { return GgufBuilder().AddBool("k", 2).Build(); }, StatusCode::kDataLoss,
     "a bool of 2"},
    {"string_length",
     [] { return GgufBuilder().Add("k", 8, GgufBuilder::Bytes(UINT64_MAX) + "abc").Build(); },
     StatusCode::kDataLoss, "truncated inside a string value"},
    {"array_length", [] { return GgufBuilder().AddArray("k", 0, UINT64_MAX, "abc").Build(); },
     StatusCode::kDataLoss, "cannot fit"},
    {"array_wraps",
     [] { return GgufBuilder().AddArray("k", 10, uint64_t{1} << 61, "abcdefgh").Build(); },
     StatusCode::kDataLoss, "cannot fit"},
    {"array_of_strings",
     [] {
       return GgufBuilder()
           .AddArray("k", 8, 2, GgufBuilder::String("ab") + GgufBuilder::Bytes<uint64_t>(9) + "c")
           .Build();
     },
     StatusCode::kDataLoss, "truncated"},
    {"array_type", [] { return GgufBuilder().AddArray("k", 99, 0, "").Build(); },
     StatusCode::kDataLoss, "value type 99"},
    {"array_depth", [] { return NestedArrays(5); }, StatusCode::kDataLoss, "more than 4 deep"},
    {"alignment_zero", [] { return GgufBuilder().AddU32("general.alignment", 0).Build(); },
     StatusCode::kDataLoss, "general.alignment"},
    {"alignment_odd", [] { return GgufBuilder().AddU32("general.alignment", 24).Build(); },
     StatusCode::kDataLoss, "power of two"},
    {"alignment_huge", [] { return GgufBuilder().AddU32("general.alignment", 1u << 31).Build(); },
     StatusCode::kDataLoss, "general.alignment"},
    {"alignment_type", [] { return GgufBuilder().AddString("general.alignment", "32").Build(); },
     StatusCode::kDataLoss, "an integer"},
    {"duplicate_tensor",
     [] {
       return GgufBuilder().AddTensor("t", {1}, 0, "1234").AddTensor("t", {1}, 0, "1234").Build();
     },
     StatusCode::kDataLoss, "\"t\" is there twice"},
    {"rank0", [] { return GgufBuilder().AddTensor("t", {}, 0, "123456789").Build(); },
     StatusCode::kDataLoss, "0 dimensions"},
    {"rank5",
     [] {
       return GgufBuilder().AddTensor("t", {1, 1, 1, 1, 1}, 0, "1234").Build();
     },
     StatusCode::kDataLoss, "5 dimensions"},
    {"dim_zero",
     [] {
       return GgufBuilder().AddTensor("t", {4, 0}, 0, "1234").Build();
     },
     StatusCode::kDataLoss, "dimension 1 of 0"},
    {"dim_huge", [] { return GgufBuilder().AddTensor("t", {UINT64_MAX}, 0, "1234").Build(); },
     StatusCode::kDataLoss, "does not fit"},
    {"dims_wrap",
     [] {
       return GgufBuilder()
           .AddTensor("t", {uint64_t{1} << 32, uint64_t{1} << 32}, 0, "1234")
           .Build();
     },
     StatusCode::kDataLoss, "does not fit"},
    {"type_known_unread",
     [] { return GgufBuilder().AddTensor("blk.0.x", {256}, 23, std::string(136, 'q')).Build(); },
     StatusCode::kUnimplemented, "tensor \"blk.0.x\" has type IQ4_XS"},
    {"type_unknown", [] { return GgufBuilder().AddTensor("t", {1}, 12345, "1234").Build(); },
     StatusCode::kUnimplemented, "type 12345"},
    {"row_not_whole_blocks",
     [] {
       return GgufBuilder().AddTensor("t", {16, 4}, 2, std::string(36, 'q')).Build();
     },
     StatusCode::kDataLoss, "Q4_0 needs a multiple of 32"},
    {"offset_unaligned",
     [] {
       return GgufBuilder().AddTensorInfo("t", {1}, 0, 4).AddData(std::string(64, 'x')).Build();
     },
     StatusCode::kDataLoss, "no multiple of the alignment 32"},
    {"offset_beyond",
     [] {
       return GgufBuilder()
           .AddTensorInfo("t", {1}, 0, uint64_t{1} << 63)
           .AddData(std::string(64, 'x'))
           .Build();
     },
     StatusCode::kDataLoss, "end beyond"},
    {"size_beyond",
     [] {
       return GgufBuilder().AddTensorInfo("t", {9}, 0, 32).AddData(std::string(64, 'x')).Build();
     },
     StatusCode::kDataLoss, "36 bytes at offset 32 end beyond the 64"},
    {"overlap",
     [] {
       return GgufBuilder()
           .AddTensorInfo("t", {9}, 0, 0)
           .AddTensorInfo("u", {1}, 0, 32)
           .AddData(std::string(64, 'x'))
           .Build();
     },
     StatusCode::kDataLoss, "\"t\" and \"u\" overlap"},
};

class GgufBadFileTest : public ::testing::TestWithParam<BadFile> {};

TEST_P(GgufBadFileTest, IsRefusedNamingFileAndReason) {
  EXPECT_THAT(Parse(GetParam().make()),
              StatusIs(GetParam().code, AllOf(HasSubstr("m.gguf"), HasSubstr(GetParam().message))));
}

INSTANTIATE_TEST_SUITE_P(All, GgufBadFileTest, ::testing::ValuesIn(kBadFiles),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(GgufFileTest, RefusesEveryTruncation) {
  const std::string good = GoodFile().Build();
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_THAT(Parse(good.substr(0, size)), StatusIs(StatusCode::kDataLoss, HasSubstr("m.gguf")))
        << size;
  }
}

TEST(WriteVocabGgufTest, KeepsEveryValueAndNoTensor) {
  const TempDir dir;
  const auto source = Parse(GoodFile().Build());
  ASSERT_THAT(source, IsOk());
  const std::string path = dir / "vocab.gguf";
  ASSERT_THAT(WriteVocabGguf(**source, path), IsOk());
  const auto copy = GgufFile::Open(path);
  ASSERT_THAT(copy, IsOk());
  EXPECT_TRUE((*copy)->tensors().empty());
  EXPECT_EQ((*copy)->Keys(), (*source)->Keys());
  const auto metadata = (*copy)->metadata_bytes(), original = (*source)->metadata_bytes();
  EXPECT_TRUE(std::equal(metadata.begin(), metadata.end(), original.begin(), original.end()));
  EXPECT_THAT((*copy)->GetStrings("strings").value(), ElementsAre("a", "", "\xff\xfe"));
  EXPECT_THAT(WriteVocabGguf(**source, path),
              StatusIs(StatusCode::kAlreadyExists, HasSubstr(path)));
  EXPECT_THAT(WriteVocabGguf(**source, dir / "no/such/folder"),
              StatusIs(StatusCode::kNotFound, HasSubstr("folder")));
}

TEST(GgufFileTest, OpensRealVocabularies) {
  const auto folder = testing::SharedData("tokenizers/ggml-vocab");
  if (!folder.has_value()) GTEST_SKIP() << "SKIPPED: the ggml vocabularies need shared data";
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(*folder)) {
    if (entry.path().extension() != ".gguf") continue;
    const auto file = GgufFile::Open(entry.path().string());
    ASSERT_THAT(file, IsOk());
    const auto tokens = (*file)->GetStrings("tokenizer.ggml.tokens");
    ASSERT_THAT(tokens, IsOk());
    EXPECT_EQ(tokens->size(), (*file)->GetInts("tokenizer.ggml.token_type").value().size());
    ++num_files;
  }
  EXPECT_GT(num_files, 0);
}

}  // namespace
}  // namespace bitdial::quant
