#include "server/config/logging.h"

#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

namespace bitdial::server {
namespace {

// Text longer than this is cut: a log line is no place for a document.
constexpr size_t kMaxMessageBytes = 4096;
constexpr size_t kMaxIdBytes = 128;
constexpr size_t kQueueLines = 8192;

// A payload with a tag is MARK request_id MARK trace_id MARK text. Messages of ours never begin
// with it, and ids lose theirs.
constexpr char kMark = '\x1f';

struct Line {
  LogTag tag;
  std::string text;
};

Line Split(std::string payload) {
  if (payload.empty() || payload[0] != kMark) return {{}, std::move(payload)};
  const size_t second = std::min(payload.find(kMark, 1), payload.size());
  const size_t third = payload.find(kMark, second + 1);
  if (third == std::string::npos) return {{}, std::move(payload)};
  return {{payload.substr(1, second - 1), payload.substr(second + 1, third - second - 1)},
          payload.substr(third + 1)};
}

std::string WithoutMark(std::string id) {
  id.erase(std::remove(id.begin(), id.end(), kMark), id.end());
  return id;
}

std::string Cut(std::string text, size_t max_bytes) {
  return text.size() > max_bytes ? text.substr(0, max_bytes) + "..." : std::move(text);
}

// Whether DEL, a C1 control or a separator of lines begins at text[at], in valid UTF-8: what JSON
// lets pass and some terminals and log readers act on. Its size in bytes, 0 for no.
size_t ControlSize(const std::string& text, size_t at) {
  const auto byte = [&](size_t i) {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0;
  };
  if (byte(0) == 0x7f) return 1;
  if (byte(0) == 0xc2 && byte(1) < 0xa0) return 2;
  return byte(0) == 0xe2 && byte(1) == 0x80 && (byte(2) == 0xa8 || byte(2) == 0xa9) ? 3 : 0;
}

// `text` as JSON writes it, without the quotation marks around: quotes, backslashes and every
// control character escaped; bad UTF-8 becomes U+FFFD.
std::string Escaped(const std::string& text) {
  const std::string quoted =
      nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string escaped;
  for (size_t at = 1; at + 1 < quoted.size();) {
    const size_t size = ControlSize(quoted, at);
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(quoted[at + i]); };
    if (size == 3) escaped += fmt::format("\\u20{:02x}", byte(2) & 0x7f);
    if (size == 1 || size == 2) escaped += fmt::format("\\u00{:02x}", byte(size - 1));
    if (size == 0) escaped += quoted[at];
    at += std::max<size_t>(size, 1);
  }
  return escaped;
}

// For people: quotation marks stand as they are.
std::string EscapedForText(const std::string& text) {
  std::string escaped = Escaped(text);
  for (size_t at = 0; (at = escaped.find("\\\"", at)) != std::string::npos; ++at)
    escaped.erase(at, 1);
  return escaped;
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
  const Line parts = Split(std::string(message.payload.data(), message.payload.size()));
  const std::string text = Cut(parts.text, kMaxMessageBytes);
  const std::string request_id = Cut(parts.tag.request_id, kMaxIdBytes);
  const std::string trace_id = Cut(parts.tag.trace_id, kMaxIdBytes);
  std::string out;
  if (format_ == LogFormat::kJson) {
    out = fmt::format("{{\"time\":\"{}\",\"level\":\"{}\",", Rfc3339(message.time),
                      LevelName(message.level));
    if (!request_id.empty()) out += "\"request_id\":\"" + Escaped(request_id) + "\",";
    if (!trace_id.empty()) out += "\"trace_id\":\"" + Escaped(trace_id) + "\",";
    out += "\"message\":\"" + Escaped(text) + "\"}\n";
  } else {
    out = fmt::format("{} {:<5} ", Rfc3339(message.time), LevelName(message.level));
    if (!request_id.empty()) {
      out += "[" + EscapedForText(request_id) + (trace_id.empty() ? "" : " ") +
             EscapedForText(trace_id) + "] ";
    }
    out += EscapedForText(text) + "\n";
  }
  line.append(out.data(), out.data() + out.size());
}

std::string internal::Payload(const LogTag& tag, const std::string& text) {
  return kMark + WithoutMark(tag.request_id) + kMark + WithoutMark(tag.trace_id) + kMark + text;
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
