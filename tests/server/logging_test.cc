#include "server/config/logging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace bitdial::server {
namespace {

// What `log` writes, through a logger of the same formatter.
std::string Written(LogFormat format, const std::function<void()>& log) {
  std::ostringstream out;
  const std::shared_ptr<spdlog::logger> before = spdlog::default_logger();
  auto logger = std::make_shared<spdlog::logger>(
      "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(out));
  logger->set_formatter(std::make_unique<LogFormatter>(format));
  spdlog::set_default_logger(logger);
  log();
  spdlog::set_default_logger(before);
  return out.str();
}

TEST(LogFormatter, TextLinesSayWhenWhatAndWhose) {
  const std::string line = Written(LogFormat::kText, [] {
    LogRequest(spdlog::level::info, std::string("ab-1"), "ended: {} \"tokens\"", 7);
  });
  EXPECT_THAT(line, ::testing::MatchesRegex(
                        "....-..-..T..:..:..\\....Z info  \\[ab-1\\] ended: 7 \"tokens\"\n"));
  EXPECT_THAT(Written(LogFormat::kText, [] { spdlog::warn("plain"); }),
              ::testing::EndsWith("Z warn  plain\n"));
}

TEST(LogFormatter, JsonLinesAreJsonWhateverTheyCarry) {
  const std::string nasty = "quote \" backslash \\ newline \n control \x01 bad utf-8 \xff end";
  const std::string line = Written(
      LogFormat::kJson, [&] { LogRequest(spdlog::level::err, std::string("id\"x"), "{}", nasty); });
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  const nlohmann::json json = nlohmann::json::parse(line);
  EXPECT_EQ(json["level"], "error");
  EXPECT_EQ(json["request_id"], "id\"x");
  EXPECT_EQ(json["message"],
            "quote \" backslash \\ newline \n control \x01 bad utf-8 \xEF\xBF\xBD end");
  EXPECT_THAT(json["time"].get<std::string>(), ::testing::EndsWith("Z"));
  EXPECT_FALSE(nlohmann::json::parse(Written(LogFormat::kJson, [] {
                 spdlog::info("x");
               })).contains("request_id"));
}

TEST(LogFormatter, ATraceStandsBehindTheRequest) {
  const auto log = [] { LogRequest(spdlog::level::info, {"ab-1", "4bf9"}, "x"); };
  EXPECT_THAT(Written(LogFormat::kText, log), ::testing::EndsWith("Z info  [ab-1 4bf9] x\n"));
  const nlohmann::json json = nlohmann::json::parse(Written(LogFormat::kJson, log));
  EXPECT_EQ(json["request_id"], "ab-1");
  EXPECT_EQ(json["trace_id"], "4bf9");
  EXPECT_EQ(json["message"], "x");
}

// CVE-2024-0095: a client's text must not become lines of the log, nor commands of the terminal
// that shows it.
TEST(LogFormatter, NothingThatAClientNamesBecomesALineOfItsOwn) {
  const std::string nasty[] = {"a\n2026-01-01T00:00:00.000Z error forged",
                               "a\r\x1b[2J\x7f",
                               "\x1f"
                               "a\x1f"
                               "b\x1f",
                               "a\",\"level\":\"error",
                               "a\xc2\x9b"
                               "31m\xc2\x85\xe2\x80\xa8\xe2\x80\xa9",
                               "a\xff\xc2",
                               std::string("a\0b", 3),
                               std::string(100000, 'x')};
  for (const std::string& text : nasty) {
    for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
      const std::string line = Written(format, [&] {
        LogRequest(spdlog::level::info, {text, text}, "model \"{}\"", text);
      });
      EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1) << line;
      for (const char* raw : {"\x1b", "\x1f", "\x7f", "\r", "\xc2\x9b", "\xc2\x85", "\xe2\x80\xa8"})
        EXPECT_EQ(line.find(raw), std::string::npos) << line;
      EXPECT_LT(line.size(), 6000u);
      if (format == LogFormat::kText) continue;
      const nlohmann::json json = nlohmann::json::parse(line);
      EXPECT_EQ(json.size(), 5u) << line;
      EXPECT_EQ(json["level"], "info");
    }
  }
  const std::string c1 = "a\xc2\x9b\xe2\x80\xa8\x7f";  // escaped, not lost
  EXPECT_EQ(nlohmann::json::parse(Written(LogFormat::kJson, [&] { spdlog::info(c1); }))["message"],
            c1);
}

TEST(LogFormatter, TextLinesStayOneLineAndBounded) {
  const std::string line =
      Written(LogFormat::kText, [] { spdlog::info("a\nb\x1b[31m{}", std::string(10000, 'x')); });
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  EXPECT_EQ(line.find('\x1b'), std::string::npos);
  EXPECT_LT(line.size(), 5000u);
}

}  // namespace
}  // namespace bitdial::server
