// Log lines on stderr: text for people, or one JSON object a line. RFC 3339 UTC times. No prompt or
// output text, ever.
#pragma once

#include <spdlog/formatter.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <string>
#include <utility>

#include "kernels/core/status.h"

namespace bitdial::server {

enum class LogFormat { kText, kJson };

// Whose line it is. Ids may come from a client: they are escaped and cut like any text.
struct LogTag {
  LogTag() = default;
  LogTag(std::string request, std::string trace = {})  // a request's id alone is a tag
      : request_id(std::move(request)), trace_id(std::move(trace)) {}
  std::string request_id;
  std::string trace_id;  // W3C Trace Context; empty: none
};

// "2026-11-23T18:48:14.123Z info  [8f3a-17] message" or
// {"time":"2026-11-23T18:48:14.123Z","level":"info","request_id":"8f3a-17","message":"message"},
// with "[8f3a-17 TRACE]" or "trace_id":"TRACE" behind the request id where there is one.
// Whatever the message and the ids hold, a line stays one line and a terminal obeys none of it:
// control characters (C1 and the line separators of Unicode too) are escaped, invalid UTF-8 is
// replaced.
class LogFormatter : public spdlog::formatter {
 public:
  explicit LogFormatter(LogFormat format) : format_(format) {}
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override;
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<LogFormatter>(format_);
  }

 private:
  const LogFormat format_;
};

// Makes spdlog's default logger write to stderr from a thread of its own, so that a stalled
// terminal or disk never stops a request; when 8192 lines wait, the oldest are lost. level: a
// log_level of the config.
void StartLogging(LogFormat format, const std::string& level);
// Writes what waits. Call before leaving the process.
void StopLogging();

// A line about one request.
template <typename... Args>
void LogRequest(spdlog::level::level_enum level, const LogTag& tag,
                fmt::format_string<Args...> format, Args&&... args);

namespace internal {
// What spdlog carries to LogFormatter.
std::string Payload(const LogTag& tag, const std::string& text);
}  // namespace internal

template <typename... Args>
void LogRequest(spdlog::level::level_enum level, const LogTag& tag,
                fmt::format_string<Args...> format, Args&&... args) {
  if (!spdlog::should_log(level)) return;
  spdlog::log(level, "{}",
              internal::Payload(tag, fmt::format(format, std::forward<Args>(args)...)));
}

}  // namespace bitdial::server
