// Traces as CSV files, also wrong ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "server/cli/load/trace.h"
#include "tests/testing/temp_dir.h"

namespace bitdial::server {
namespace {

using ::testing::HasSubstr;

constexpr char kHeader[] = "arrival_s,prompt_tokens,output_tokens\n";
constexpr char kBitsHeader[] = "arrival_s,prompt_tokens,output_tokens,weight_bits\n";

// The message for this text, which has to be wrong.
std::string Wrong(const std::string& text) {
  const auto trace = ParseTrace(text, "t.csv");
  EXPECT_EQ(trace.status().code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(trace.status().message());
}

TEST(Trace, ReadsRows) {
  const Trace trace =
      ParseTrace(std::string(kHeader) + "0,32,128\n0.25,1,1048576\n1e2,7,8\n", "t").value();
  EXPECT_FALSE(trace.has_bits);
  ASSERT_EQ(trace.rows.size(), 3u);
  EXPECT_EQ(trace.rows[1].index, 1);
  EXPECT_EQ(trace.rows[1].arrival_s, 0.25);
  EXPECT_EQ(trace.rows[1].output_tokens, 1 << 20);
  EXPECT_EQ(trace.rows[2].arrival_s, 100);
  EXPECT_EQ(trace.rows[2].bits, BitsWish());
}

TEST(Trace, ReadsBitsAndLineEnds) {
  const Trace trace =
      ParseTrace(
          "arrival_s,prompt_tokens,output_tokens,weight_bits\r\n0,1,2,4\r\n0,1,2,auto:2\r\n"
          "0,1,2,dense",
          "t")
          .value();
  EXPECT_TRUE(trace.has_bits);
  ASSERT_EQ(trace.rows.size(), 3u);
  EXPECT_EQ(ToText(trace.rows[0].bits), "4");
  EXPECT_EQ(ToText(trace.rows[1].bits), "auto:2");
  EXPECT_EQ(ToText(trace.rows[2].bits), "dense");
}

TEST(Trace, SaysWhichLineIsWrong) {
  const std::string h = kHeader, b = kBitsHeader;
  EXPECT_THAT(Wrong(""), HasSubstr("line 1 is \"\"; expected the header"));
  EXPECT_THAT(Wrong("0,1,2\n"), HasSubstr("line 1 is \"0,1,2\""));
  EXPECT_THAT(Wrong("\xEF\xBB\xBF" + h + "0,1,2\n"), HasSubstr("line 1 is \"???arrival_s"));
  EXPECT_THAT(Wrong(h), HasSubstr("no requests"));
  EXPECT_THAT(Wrong(h + "0,1,2\n0,1\n"), HasSubstr("t.csv: line 3: got 2 cells; expected 3"));
  EXPECT_THAT(Wrong(h + "0,1,2,4\n"), HasSubstr("line 2: more than 3 cells"));
  EXPECT_THAT(Wrong(b + "0,1,2\n"), HasSubstr("line 2: got 3 cells; expected 4"));
  EXPECT_THAT(Wrong(h + "\n0,1,2\n"), HasSubstr("line 2: got 1 cells"));
  EXPECT_THAT(Wrong(h + "1,1,2\n0.5,1,2\n"), HasSubstr("line 3: arrival_s is 0.5, before"));
  EXPECT_THAT(Wrong(b + "0,1,2,fast\n"), HasSubstr("line 2: weight_bits is \"fast\""));
  EXPECT_THAT(Wrong(b + "0,1,2,\n"), HasSubstr("line 2: weight_bits is \"\""));
}

TEST(Trace, RefusesHostileCells) {
  const std::string h = kHeader;
  for (const char* time : {"", " 0", "0 ", "-1", "nan", "inf", "-inf", "1e400", "0x10", "1,0", "+1",
                           "604801", "1e-", "\"0\"", "0\t"}) {
    EXPECT_THAT(Wrong(h + time + ",1,2\n"), HasSubstr("line 2: ")) << time;
  }
  for (const char* tokens : {"", "0", "-1", "1.5", "1e3", "1048577", "2147483648", "4294967297",
                             "18446744073709551617", " 1", "1 ", "0x1"}) {
    EXPECT_THAT(Wrong(h + "0," + tokens + ",2\n"), HasSubstr("line 2: prompt_tokens is")) << tokens;
    EXPECT_THAT(Wrong(h + "0,1," + tokens + "\n"), HasSubstr("line 2: output_tokens is")) << tokens;
  }
  using namespace std::string_literals;
  EXPECT_THAT(Wrong(h + "0\0,1,2\n"s), HasSubstr("arrival_s is \"0?\""));
  EXPECT_THAT(Wrong(h + "\x1b[2J,1,2\n"), HasSubstr("arrival_s is \"?[2J\""));
}

TEST(Trace, CutsLongCellsAndBoundsRows) {
  EXPECT_LT(Wrong(kHeader + std::string(100'000, '9') + ",1,2\n").size(), 200u);
  EXPECT_LT(Wrong(kHeader + std::string(100'000, ',') + "\n").size(), 200u);
  std::string many = kHeader;
  for (int64_t i = 0; i <= kMaxLoadRequests; ++i) many += "0,1,1\n";
  EXPECT_THAT(Wrong(many), HasSubstr("line 1000002: a trace has at most 1000000 requests"));
}

TEST(Trace, ReadsFiles) {
  const testing::TempDir folder;
  const std::string path = folder.path() + "/trace.csv";
  EXPECT_EQ(ReadTrace(path).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(ReadTrace(folder.path()).ok());
  std::ofstream(path) << kHeader << "0,1,2\n";
  const Trace trace = ReadTrace(path).value();
  EXPECT_EQ(trace.rows.size(), 1u);
  EXPECT_THAT(std::string(ReadTrace("/dev/zero").status().message()), HasSubstr("64 MiB"));
}

}  // namespace
}  // namespace bitdial::server
