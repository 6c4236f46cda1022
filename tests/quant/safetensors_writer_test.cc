#include "quant/container/safetensors_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "quant/container/file_writer.h"
#include "quant/container/safetensors_file.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace bitdial::quant {
namespace {

using absl::StatusCode;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

std::vector<std::byte> Fill(size_t count, int value) {
  return std::vector<std::byte>(count, std::byte(value));
}

TEST(SafetensorsWriterTest, ReaderGetsBackWhatWasWrittenAligned) {
  const TempDir dir;
  const std::string path = dir / "model.safetensors";
  // Declared narrow types first, of odd sizes: offsets must still be aligned.
  auto writer = SafetensorsWriter::Create(path, {{"u8", DType::kU8, {3}},
                                                 {"f16", DType::kF16, {5}},
                                                 {"i32", DType::kI32, {2, 3}},
                                                 {"empty", DType::kF32, {0, 4}},
                                                 {"scalar", DType::kF32, {}},
                                                 {"bf16", DType::kBF16, {1, 1, 1, 3}}});
  ASSERT_THAT(writer, IsOk());
  ASSERT_THAT((*writer)->Append("u8", Fill(3, 1)), IsOk());
  ASSERT_THAT((*writer)->Append("f16", Fill(10, 2)), IsOk());
  ASSERT_THAT((*writer)->Append("i32", Fill(24, 3)), IsOk());
  ASSERT_THAT((*writer)->Append("empty", {}), IsOk());
  ASSERT_THAT((*writer)->Append("scalar", Fill(4, 4)), IsOk());
  ASSERT_THAT((*writer)->Append("bf16", Fill(6, 5)), IsOk());
  ASSERT_THAT((*writer)->Finish(), IsOk());

  const auto file = SafetensorsFile::Open(path);
  ASSERT_THAT(file, IsOk());
  ASSERT_EQ((*file)->entries().size(), 6u);
  const std::pair<const char*, int> expected[] = {{"bf16", 5}, {"empty", 0},  {"f16", 2},
                                                  {"i32", 3},  {"scalar", 4}, {"u8", 1}};
  for (size_t i = 0; i < 6; ++i) {
    const SafetensorsEntry& entry = (*file)->entries()[i];
    EXPECT_EQ(entry.name, expected[i].first);
    for (const std::byte byte : entry.data)
      EXPECT_EQ(byte, std::byte(expected[i].second)) << entry.name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(entry.data.data()) % SizeOf(entry.dtype), 0u)
        << entry.name;
  }
  EXPECT_EQ((*file)->entries()[0].shape, (Shape{1, 1, 1, 3}));
  EXPECT_EQ((*file)->entries()[4].shape, Shape{});
}

TEST(SafetensorsWriterTest, NeverOverwrites) {
  const TempDir dir;
  const std::string path = dir.Write("model.safetensors", "mine");
  EXPECT_THAT(SafetensorsWriter::Create(path, {}),
              StatusIs(StatusCode::kAlreadyExists, HasSubstr(path)));
  EXPECT_EQ(std::filesystem::file_size(path), 4u);
  EXPECT_THAT(SafetensorsWriter::Create(dir / "no/model.safetensors", {}),
              StatusIs(StatusCode::kNotFound, HasSubstr("no/model")));
}

TEST(SafetensorsWriterTest, AnUnfinishedFileIsRemoved) {
  const TempDir dir;
  const std::string path = dir / "model.safetensors";
  {
    auto writer =
        SafetensorsWriter::Create(path, {{"a", DType::kF32, {4}}, {"b", DType::kF32, {4}}});
    ASSERT_THAT(writer, IsOk());
    ASSERT_THAT((*writer)->Append("a", Fill(16, 0)), IsOk());
    EXPECT_TRUE(std::filesystem::exists(path));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(SafetensorsWriterDeathTest, TheWrongTensorIsOurBug) {
  const TempDir dir;
  auto writer = SafetensorsWriter::Create(dir / "m", {{"a", DType::kF32, {4}}});
  ASSERT_THAT(writer, IsOk());
  EXPECT_DEATH((void)(*writer)->Append("b", Fill(16, 0)), "check failed");
  EXPECT_DEATH((void)(*writer)->Append("a", Fill(12, 0)), "check failed");
  EXPECT_DEATH((void)(*writer)->Finish(), "check failed");
}

// A full disk, played by the limit on file sizes: the kernel reports it by the same calls.
class FullDisk {
 public:
  explicit FullDisk(rlim_t max_bytes) {
    previous_handler_ = ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &previous_);
    rlimit limit = previous_;
    limit.rlim_cur = max_bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &previous_);
    ::signal(SIGXFSZ, previous_handler_);
  }

 private:
  rlimit previous_;
  void (*previous_handler_)(int);
};

TEST(SafetensorsWriterTest, AFullDiskIsFoundBeforeTheWork) {
  const TempDir dir;
  const std::string path = dir / "model.safetensors";
  const FullDisk full(4096);
  EXPECT_THAT(SafetensorsWriter::Create(path, {{"a", DType::kF32, {10000}}}),
              StatusIs(StatusCode::kResourceExhausted, AllOf(HasSubstr(path), HasSubstr("bytes"))));
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(SafetensorsWriterTest, ADiskThatFillsUpIsReportedWithPathAndBytes) {
  const TempDir dir;
  const std::string path = dir / "model.safetensors";
  auto writer = SafetensorsWriter::Create(path, {{"a", DType::kF32, {10000}}});
  ASSERT_THAT(writer, IsOk());
  {
    const FullDisk full(4096);
    EXPECT_THAT(
        (*writer)->Append("a", Fill(40000, 1)),
        StatusIs(StatusCode::kResourceExhausted, AllOf(HasSubstr(path), HasSubstr("tensor \"a\""),
                                                       HasSubstr("bytes at offset 4096"))));
  }
  writer->reset();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(FileWriterTest, RefusesAFolderAndAPathWithoutPermission) {
  const TempDir dir;
  EXPECT_THAT(FileWriter::Create(dir.path(), 0),
              StatusIs(StatusCode::kAlreadyExists, HasSubstr(dir.path())));
  EXPECT_THAT(FileWriter::Create("/proc/bitdial", 0), ::testing::Not(IsOk()));
}

}  // namespace
}  // namespace bitdial::quant
