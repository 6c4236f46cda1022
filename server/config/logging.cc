#include "server/config/logging.h"

#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <ctime>
#include <nlohmann/json.hpp>

namespace bitdial::server {
namespace {

// A line longer than this is cut: a log line is no place for a document.
constexpr size_t kMaxMessageBytes = 4096;
constexpr size_t kQueueLines = 8192;

struct Payload {
  std::string request_id;
  std::string text;
};

Payload Split(std::string payload) {
  if (payload.empty() || payload[0] != internal::kRequestIdMark) return {"", std::move(payload)};
  const size_t end = payload.find(internal::kRequestIdMark, 1);
  if (end == std::string::npos) return {"", std::move(payload)};
  return {payload.substr(1, end - 1), payload.substr(end + 1)};
}

// `text` between quotes with JSON's escapes: quotes, backslashes and control characters; bad UTF-8
// becomes U+FFFD.
std::string Quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string Rfc3339(spdlog::log_clock::time_point time) {
  const auto since_epoch = time.time_since_epoch();
  const std::time_t seconds = std::chrono::duration_cast<std::chrono::seconds>(since_epoch).count();
  const auto millis =
      std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count() % 1000;
  std::tm utc;
  gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, millis);
}

const char* LevelName(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::trace:
      return "trace";
    case spdlog::level::debug:
      return "debug";
    case spdlog::level::info:
      return "info";
    case spdlog::level::warn:
      return "warn";
    default:
      return "error";
  }
}

}  // namespace

void LogFormatter::format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) {
  Payload payload = Split(std::string(message.payload.data(), message.payload.size()));
  if (payload.text.size() > kMaxMessageBytes)
    payload.text = payload.text.substr(0, kMaxMessageBytes) + "...";
  std::string out;
  if (format_ == LogFormat::kJson) {
    out = fmt::format("{{\"time\":\"{}\",\"level\":\"{}\",", Rfc3339(message.time),
                      LevelName(message.level));
    if (!payload.request_id.empty()) out += "\"request_id\":" + Quoted(payload.request_id) + ",";
    out += "\"message\":" + Quoted(payload.text) + "}\n";
  } else {
    out = fmt::format("{} {:<5} ", Rfc3339(message.time), LevelName(message.level));
    if (!payload.request_id.empty()) out += "[" + payload.request_id + "] ";
    const std::string quoted = Quoted(payload.text);
    // Plain where JSON's escapes change nothing but the quotation marks: those may stand in text.
    std::string escaped = quoted.substr(1, quoted.size() - 2);
    for (size_t at = 0; (at = escaped.find("\\\"", at)) != std::string::npos; ++at)
      escaped.erase(at, 1);
    out += escaped + "\n";
  }
  line.append(out.data(), out.data() + out.size());
}

void StartLogging(LogFormat format, const std::string& level) {
  spdlog::init_thread_pool(kQueueLines, 1);
  auto logger = std::make_shared<spdlog::async_logger>(
      "bitdial", std::make_shared<spdlog::sinks::stderr_sink_mt>(), spdlog::thread_pool(),
      spdlog::async_overflow_policy::overrun_oldest);
  logger->set_formatter(std::make_unique<LogFormatter>(format));
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
}

void StopLogging() { spdlog::shutdown(); }

}  // namespace bitdial::server
