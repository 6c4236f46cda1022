#include "quant/container/safetensors_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace bitdial::quant {
namespace {

using absl::StatusCode;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

std::string File(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header + data;
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> Parse(const std::string& bytes) {
  return SafetensorsFile::Parse(MappedFile::CopyOf(
      std::as_bytes(std::span(bytes.data(), bytes.size())), "model.safetensors"));
}

TEST(SafetensorsFileTest, ReadsTensorsSortedByName) {
  const auto file = Parse(File(R"({"__metadata__":{"format":"pt"},
      "b":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},
      "a":{"dtype":"I32","shape":[],"data_offsets":[12,16]},
      "empty":{"dtype":"F32","shape":[0,7],"data_offsets":[16,16]}}   )",
                               "0123456789abWXYZ"));
  ASSERT_THAT(file, IsOk());
  const auto& entries = (*file)->entries();
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].name, "a");
  EXPECT_EQ(entries[0].dtype, DType::kI32);
  EXPECT_EQ(entries[0].shape, Shape{});
  EXPECT_EQ(std::memcmp(entries[0].data.data(), "WXYZ", 4), 0);
  EXPECT_EQ(entries[1].name, "b");
  EXPECT_EQ(entries[1].shape, (Shape{2, 3}));
  EXPECT_EQ(entries[1].data.size(), 12u);
  EXPECT_EQ(entries[2].data.size(), 0u);
}

TEST(SafetensorsFileTest, RefusesDamagedFraming) {
  EXPECT_THAT(Parse("1234567"), StatusIs(StatusCode::kDataLoss, HasSubstr("7 bytes")));
  EXPECT_THAT(Parse(std::string(8, '\xff')),
              StatusIs(StatusCode::kDataLoss, HasSubstr("a header of 18446744073709551615 bytes")));
  EXPECT_THAT(Parse(File("{}", "").substr(0, 9)),
              StatusIs(StatusCode::kDataLoss, HasSubstr("truncated")));
  EXPECT_THAT(Parse(File("{}", "x")),
              StatusIs(StatusCode::kDataLoss, HasSubstr("the tensors use 0")));
  EXPECT_THAT(Parse(File("[]", "")), StatusIs(StatusCode::kDataLoss, HasSubstr("JSON object")));
  EXPECT_THAT(Parse(File("{\"a\"", "")),
              StatusIs(StatusCode::kDataLoss, HasSubstr("malformed JSON")));
  EXPECT_THAT(Parse(File("", "")), StatusIs(StatusCode::kDataLoss, HasSubstr("malformed JSON")));
}

struct BadEntry {
  const char* entry;  // of tensor "t", in a file with 8 bytes of data
  StatusCode code;
  const char* message;
};

class SafetensorsBadEntryTest : public ::testing::TestWithParam<BadEntry> {};

TEST_P(SafetensorsBadEntryTest, IsRefusedNamingTheTensor) {
  const auto file = Parse(File(std::string("{\"t\":") + GetParam().entry + "}", "01234567"));
  EXPECT_THAT(file, StatusIs(GetParam().code,
                             AllOf(HasSubstr("tensor \"t\""), HasSubstr(GetParam().message))))
      << GetParam().entry;
}

INSTANTIATE_TEST_SUITE_P(
    All, SafetensorsBadEntryTest,
    ::testing::Values(
        BadEntry{"7", StatusCode::kDataLoss, "expected an object"},
        BadEntry{"{}", StatusCode::kDataLoss, "\"dtype\" is missing"},
        BadEntry{R"({"dtype":"F64","shape":[1],"data_offsets":[0,8]})", StatusCode::kUnimplemented,
                 "F64"},
        BadEntry{R"({"dtype":"THIS_IS_NO_TYPE_AT_ALL","shape":[1],"data_offsets":[0,8]})",
                 StatusCode::kDataLoss, "dtype"},
        BadEntry{R"({"dtype":3,"shape":[1],"data_offsets":[0,8]})", StatusCode::kDataLoss, "dtype"},
        BadEntry{R"({"dtype":"F32","data_offsets":[0,8]})", StatusCode::kDataLoss, "shape"},
        BadEntry{R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})", StatusCode::kDataLoss,
                 "shape"},
        BadEntry{R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})", StatusCode::kDataLoss,
                 "shape[0]"},
        BadEntry{R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})", StatusCode::kDataLoss,
                 "shape[0]"},
        BadEntry{R"({"dtype":"F32","shape":[2,1,1,1,1],"data_offsets":[0,8]})",
                 StatusCode::kUnimplemented, "5 dimensions"},
        // Products that wrap around to the right size in 64 bits.
        BadEntry{R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]})",
                 StatusCode::kDataLoss, "more than any file"},
        BadEntry{
            R"({"dtype":"F32","shape":[1152921504606846976,1152921504606846976,0],"data_offsets":[0,0]})",
            StatusCode::kDataLoss, "more than any file"},
        BadEntry{R"({"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]})",
                 StatusCode::kDataLoss, "shape[0]"},
        BadEntry{R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})", StatusCode::kDataLoss,
                 "need 12"},
        BadEntry{R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})", StatusCode::kDataLoss,
                 "data_offsets"},
        BadEntry{R"({"dtype":"F32","shape":[2],"data_offsets":[0]})", StatusCode::kDataLoss,
                 "data_offsets"},
        BadEntry{R"({"dtype":"F32","shape":[2],"data_offsets":[0,8,8]})", StatusCode::kDataLoss,
                 "data_offsets"},
        BadEntry{R"({"dtype":"F32","shape":[2]})", StatusCode::kDataLoss, "data_offsets"},
        BadEntry{R"({"dtype":"F32","shape":[2],"data_offsets":[0,1e1]})", StatusCode::kDataLoss,
                 "data_offsets[1]"},
        BadEntry{R"({"dtype":"F32","shape":[2],"data_offsets":[-8,0]})", StatusCode::kDataLoss,
                 "data_offsets[0]"},
        BadEntry{R"({"dtype":"F32","shape":[2],"data_offsets":[18446744073709551608,0]})",
                 StatusCode::kDataLoss, "data_offsets[0]"},
        BadEntry{R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]})", StatusCode::kDataLoss,
                 "truncated"},
        BadEntry{R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})", StatusCode::kDataLoss,
                 "a gap"},
        BadEntry{R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1})", StatusCode::kDataLoss,
                 "unknown key \"x\""},
        BadEntry{
            R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]},"u":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})",
            StatusCode::kDataLoss, "overlap"}));

TEST(SafetensorsFileTest, RefusesDuplicateNamesByKey) {
  EXPECT_THAT(
      Parse(File(
          R"({"t":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"t":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})",
          "")),
      StatusIs(StatusCode::kDataLoss, HasSubstr("key \"t\" is there twice")));
}

// Every cut of a good file is refused, and none is read beyond its end (the copy is exact: the
// sanitizer sees it).
TEST(SafetensorsFileTest, RefusesEveryTruncation) {
  const std::string good =
      File(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})", std::string(16, 'x'));
  ASSERT_THAT(Parse(good), IsOk());
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_THAT(Parse(good.substr(0, size)),
                StatusIs(StatusCode::kDataLoss, HasSubstr("model.safetensors")))
        << size;
  }
}

}  // namespace
}  // namespace bitdial::quant
