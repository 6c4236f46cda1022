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
  const std::string line = Written(
      LogFormat::kText, [] { LogRequest(spdlog::level::info, "ab-1", "ended: {} \"tokens\"", 7); });
  EXPECT_THAT(line, ::testing::MatchesRegex(
                        "....-..-..T..:..:..\\....Z info  \\[ab-1\\] ended: 7 \"tokens\"\n"));
  EXPECT_THAT(Written(LogFormat::kText, [] { spdlog::warn("plain"); }),
              ::testing::EndsWith("Z warn  plain\n"));
}

TEST(LogFormatter, JsonLinesAreJsonWhateverTheyCarry) {
  const std::string nasty = "quote \" backslash \\ newline \n control \x01 bad utf-8 \xff end";
  const std::string line =
      Written(LogFormat::kJson, [&] { LogRequest(spdlog::level::err, "id\"x", "{}", nasty); });
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

TEST(LogFormatter, TextLinesStayOneLineAndBounded) {
  const std::string line =
      Written(LogFormat::kText, [] { spdlog::info("a\nb\x1b[31m{}", std::string(10000, 'x')); });
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  EXPECT_EQ(line.find('\x1b'), std::string::npos);
  EXPECT_LT(line.size(), 5000u);
}

}  // namespace
}  // namespace bitdial::server
