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

// "2026-11-23T18:48:14.123Z info  [8f3a-17] message" or
// {"time":"2026-11-23T18:48:14.123Z","level":"info","request_id":"8f3a-17","message":"message"}.
// Whatever the message holds, a line stays one line: control characters are escaped, invalid UTF-8
// is replaced.
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
void LogRequest(spdlog::level::level_enum level, const std::string& request_id,
                fmt::format_string<Args...> format, Args&&... args);

namespace internal {
// In front of a payload: the request id between two of these. Messages of ours never begin with it.
inline constexpr char kRequestIdMark = '\x1f';
}  // namespace internal

template <typename... Args>
void LogRequest(spdlog::level::level_enum level, const std::string& request_id,
                fmt::format_string<Args...> format, Args&&... args) {
  if (!spdlog::should_log(level)) return;
  const std::string text = fmt::format(format, std::forward<Args>(args)...);
  spdlog::log(level, "{}{}{}{}", internal::kRequestIdMark, request_id, internal::kRequestIdMark,
              text);
}

}  // namespace bitdial::server
