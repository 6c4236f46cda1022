// The file of measured kernel choices: kept, shared, and never believed.
#include "engine/layers/kernel_choices.h"

#include <sys/stat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "quant/container/json_reader.h"
#include "tests/testing/temp_dir.h"

namespace bitdial::engine {
namespace {

using kernels::KernelRow;
using kernels::KernelShape;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using testing::TempDir;

void Nothing(const kernels::LinearArgs&, Stream&) noexcept {}

KernelRow Row(const char* name) {
  return {.key = {.op = kernels::Op::kLinear},
          .backend = kernels::Backend::kCpuAvx2,
          .name = name,
          .numeric_class = "class",
          .supports = [](const KernelShape&) { return std::string(); },
          .fn = kernels::LinearFn{Nothing}};
}
const KernelRow kUsual = Row("usual"), kFast = Row("fast"), kOther = Row("other");
const KernelRow* const kTwo[] = {&kUsual, &kFast};
constexpr KernelShape kShape = {
    .in_features = 64, .out_features = 32, .group_size = 32, .max_bits = 4};
constexpr char kMachine[] = "a processor; bitdial 1";

// Calls of many rows are faster by `fast`.
double MadeUpTime(const KernelRow& row, int64_t num_rows) {
  return &row == &kFast && num_rows > 4 ? 1e-6 : 2e-6;
}
// For choices that must come from the file.
double NoTime(const KernelRow& row, int64_t num_rows) {
  ADD_FAILURE() << row.name << " is timed at " << num_rows;
  return 1e-6;
}

kernels::ChosenRows Measure(KernelChoices& choices, const KernelShape& shape = kShape,
                            int num_threads = 2) {
  return choices.Choose(kTwo, shape, num_threads, MadeUpTime);
}

std::string Contents(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// A file with one choice, made by us.
std::string WriteGood(const TempDir& dir) {
  const std::string path = dir / "choices.json";
  KernelChoices choices = KernelChoices::Open(path, kMachine);
  (void)Measure(choices);
  EXPECT_TRUE(choices.Save().ok());
  EXPECT_THAT(choices.notes(), IsEmpty());
  return path;
}

TEST(KernelChoices, AreMeasuredOnceForAllProcesses) {
  TempDir dir;
  const std::string path = dir / "new/folders/choices.json";
  KernelChoices first = KernelChoices::Open(path, kMachine);
  const kernels::ChosenRows chosen = Measure(first);
  EXPECT_EQ(chosen[0], &kUsual);
  EXPECT_EQ(chosen[6], &kFast);
  EXPECT_EQ(first.Choose(kTwo, kShape, 2, NoTime), chosen);  // the next layer
  EXPECT_EQ(first.num_timed(), 1);
  EXPECT_TRUE(first.Save().ok());
  EXPECT_THAT(first.notes(), IsEmpty());

  KernelChoices second = KernelChoices::Open(path, kMachine);
  EXPECT_EQ(second.Choose(kTwo, kShape, 2, NoTime), chosen);
  EXPECT_EQ(second.num_timed(), 0);
  EXPECT_THAT(second.notes(), IsEmpty());
  // The file is all there is in the folder.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir / "new/folders"), {}), 1);
}

TEST(KernelChoices, HoldForOneMachineShapeThreadCountAndSetOfRows) {
  TempDir dir;
  const std::string path = WriteGood(dir);
  KernelChoices other_machine = KernelChoices::Open(path, "another processor; bitdial 1");
  (void)Measure(other_machine);
  EXPECT_EQ(other_machine.num_timed(), 1);

  KernelChoices same = KernelChoices::Open(path, kMachine);
  (void)Measure(same, kShape, 3);
  EXPECT_EQ(same.num_timed(), 1);
  KernelShape shape = kShape;
  for (auto change :
       {+[](KernelShape& s) { s.in_features = 128; }, +[](KernelShape& s) { s.out_features = 33; },
        +[](KernelShape& s) { s.group_size = 64; }, +[](KernelShape& s) { s.max_bits = 3; }}) {
    shape = kShape;
    change(shape);
    const int before = same.num_timed();
    (void)Measure(same, shape);
    EXPECT_EQ(same.num_timed(), before + 1);
  }
  const KernelRow* const others[] = {&kUsual, &kOther};
  const int before = same.num_timed();
  (void)same.Choose(others, kShape, 2, MadeUpTime);
  EXPECT_EQ(same.num_timed(), before + 1);
  EXPECT_THAT(same.notes(), IsEmpty());
}

TEST(KernelChoices, TimeNothingWhereThereIsNoChoice) {
  TempDir dir;
  KernelChoices choices = KernelChoices::Open(dir / "choices.json", kMachine);
  const KernelRow* const one[] = {&kUsual};
  EXPECT_EQ(choices.Choose(one, kShape, 2, NoTime)[3], &kUsual);
  EXPECT_TRUE(choices.Save().ok());
  EXPECT_FALSE(std::filesystem::exists(dir / "choices.json"));
}

TEST(KernelChoices, WithoutAPathAreKeptForOneProcess) {
  KernelChoices choices = KernelChoices::Open("", kMachine);
  EXPECT_EQ(Measure(choices)[6], &kFast);
  EXPECT_EQ(choices.Choose(kTwo, kShape, 2, NoTime)[6], &kFast);
  EXPECT_TRUE(choices.Save().ok());
  EXPECT_THAT(choices.notes(), IsEmpty());
}

// One note that names the file; then as if it were not there, and a good one in its place.
TEST(KernelChoices, ABrokenFileOfOursIsReplaced) {
  TempDir dir;
  const std::string good = Contents(WriteGood(dir));
  const std::string head = good.substr(0, good.find('\n', 2) + 1);
  std::vector<std::string> broken = {
      "",
      "{",
      good.substr(0, good.size() / 2),
      head + "\xff\xfe",
      head + R"("format": 2, "choices": {}})",
      head + R"("format": 1})",
      head + R"("format": 1, "choices": [1]})",
      head + R"("format": 1, "choices": {"x": "y"}})",
      head + R"("format": 1, "choices": {"x": [1]}})",
      head + R"("choices": {}})",
      head + std::string(100000, '['),
      head + "\"x\": \"" + std::string(2 << 20, 'x') + "\", \"format\": 1, \"choices\": {}}"};
  for (const std::string& text : broken) {
    SCOPED_TRACE(text.substr(0, 100));
    const std::string path = dir.Write("choices.json", text);
    KernelChoices choices = KernelChoices::Open(path, kMachine);
    EXPECT_THAT(choices.notes(), ElementsAre(AllOf(StartsWith(path), HasSubstr("measured anew"))));
    EXPECT_EQ(Measure(choices)[6], &kFast);
    EXPECT_TRUE(choices.Save().ok());
    EXPECT_EQ(choices.notes().size(), 1u);
    KernelChoices after = KernelChoices::Open(path, kMachine);
    EXPECT_EQ(after.Choose(kTwo, kShape, 2, NoTime)[6], &kFast);
    EXPECT_THAT(after.notes(), IsEmpty());
  }
}

// A path may be wrong: what is there stays as it is, and Save says so.
TEST(KernelChoices, WhatIsNotOursIsLeftAlone) {
  TempDir dir;
  const std::string target = dir.Write("target.json", "{}");
  for (const std::string& text : {std::string("{\"my\": \"settings\"}"), std::string("[1]"),
                                  std::string("\xff\xfe"), std::string("{\n \"about\": \"me\"}")}) {
    SCOPED_TRACE(text);
    const std::string path = dir.Write("choices.json", text);
    KernelChoices choices = KernelChoices::Open(path, kMachine);
    EXPECT_EQ(Measure(choices)[6], &kFast);
    EXPECT_THAT(std::string(choices.Save().message()),
                AllOf(HasSubstr(path), HasSubstr("left alone")));
    EXPECT_EQ(Contents(path), text);
  }
  const std::string link = dir / "link.json", pipe = dir / "pipe";
  std::filesystem::create_symlink(target, link);
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const std::string& path : {link, pipe, std::string("/dev/null")}) {
    SCOPED_TRACE(path);
    KernelChoices choices = KernelChoices::Open(path, kMachine);
    EXPECT_EQ(Measure(choices)[6], &kFast);
    EXPECT_THAT(std::string(choices.Save().message()),
                AllOf(HasSubstr(path), HasSubstr("no regular file")));
  }
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

// References are orders slower than anything: timing them would hold up a start for nothing.
TEST(KernelChoices, ReferencesAreNotTimed) {
  KernelRow usual = kUsual, fast = kFast;
  usual.backend = fast.backend = kernels::Backend::kCpuRef;
  const KernelRow* const two[] = {&usual, &fast};
  KernelChoices choices = KernelChoices::Open("", kMachine);
  EXPECT_EQ(choices.Choose(two, kShape, 2, NoTime), kernels::StaticChoice(two));
}

// What a file says is one of the candidates or nothing.
TEST(KernelChoices, AnEntryThatNamesOtherRowsIsMeasuredAnew) {
  TempDir dir;
  const std::string path = WriteGood(dir);
  Json json = *ReadJsonFile(path);
  const std::string key = json["choices"].begin().key();
  for (const Json& entry :
       {Json{"fast"}, Json(std::vector<std::string>(7, "other")), Json(Json::array()),
        Json(std::vector<std::string>(8, "fast")), Json(std::vector<std::string>(7, ""))}) {
    SCOPED_TRACE(entry.dump());
    json["choices"][key] = entry;
    dir.Write("choices.json", json.dump(1));
    KernelChoices choices = KernelChoices::Open(path, kMachine);
    EXPECT_THAT(choices.notes(), IsEmpty());
    EXPECT_EQ(Measure(choices)[0], &kUsual);
    EXPECT_EQ(choices.num_timed(), 1);
    EXPECT_THAT(choices.notes(), ElementsAre(AllOf(StartsWith(path), HasSubstr("measured anew"))));
    EXPECT_TRUE(choices.Save().ok());
    KernelChoices after = KernelChoices::Open(path, kMachine);
    EXPECT_EQ(after.Choose(kTwo, kShape, 2, NoTime)[6], &kFast);
  }
}

// Read-only roots of containers.
TEST(KernelChoices, WhereNothingCanBeWrittenSaveSaysWhy) {
  TempDir dir;
  dir.Write("file", "no folder");
  std::filesystem::create_directory(dir / "folder.json");
  for (const std::string& path :
       {dir / "file/choices.json", std::string("/proc/none/choices.json"), dir / "folder.json"}) {
    SCOPED_TRACE(path);
    KernelChoices choices = KernelChoices::Open(path, kMachine);
    EXPECT_EQ(Measure(choices)[6], &kFast);
    const absl::Status saved = choices.Save();
    EXPECT_THAT(std::string(saved.message()),
                HasSubstr(std::filesystem::path(path).parent_path().string()));
    EXPECT_FALSE(saved.ok());
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 2);
}

TEST(KernelChoices, KeepWhatAnotherProcessWrote) {
  TempDir dir;
  const std::string path = dir / "choices.json";
  KernelChoices a = KernelChoices::Open(path, kMachine), b = KernelChoices::Open(path, kMachine);
  KernelShape wide = kShape;
  wide.out_features = 640;
  (void)Measure(a);
  (void)Measure(b, wide);
  EXPECT_TRUE(a.Save().ok());
  EXPECT_TRUE(b.Save().ok());
  KernelChoices both = KernelChoices::Open(path, kMachine);
  (void)both.Choose(kTwo, kShape, 2, NoTime);
  (void)both.Choose(kTwo, wide, 2, NoTime);
}

// Builds come and go: beyond 512 entries only those in use stay.
TEST(KernelChoices, DoNotGrowWithoutBound) {
  TempDir dir;
  const std::string path = WriteGood(dir);
  Json json = *ReadJsonFile(path);
  for (int i = 0; i < 600; ++i) json["choices"]["build " + std::to_string(i)] = Json{"fast"};
  dir.Write("choices.json", json.dump(1));
  KernelChoices choices = KernelChoices::Open(path, kMachine);
  (void)choices.Choose(kTwo, kShape, 2, NoTime);
  (void)Measure(choices, kShape, 1);
  EXPECT_TRUE(choices.Save().ok());
  EXPECT_EQ((*ReadJsonFile(path))["choices"].size(), 2u);
}

}  // namespace
}  // namespace bitdial::engine
