#include "server/cli/command.h"

#include <charconv>
#include <cstdint>
#include <cstdio>

#include "absl/strings/cord.h"

namespace bitdial::server {
namespace {

constexpr char kBadConfigUrl[] = "bitdial/bad_config";

}  // namespace

int ExitCodeOf(const absl::Status& status) {
  if (status.GetPayload(kBadConfigUrl).has_value()) return kExitBadConfig;
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return kExitUsage;
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kPermissionDenied:
      return kExitBadFile;
    case absl::StatusCode::kUnimplemented:
      return kExitUnsupported;
    case absl::StatusCode::kFailedPrecondition:
      return kExitMachine;
    case absl::StatusCode::kAlreadyExists:
      return kExitExists;
    case absl::StatusCode::kResourceExhausted:
      return kExitResources;
    case absl::StatusCode::kUnavailable:
      return kExitNoServer;
    case absl::StatusCode::kDeadlineExceeded:
      return kExitTimeout;
    default:
      return kExitFailure;
  }
}

absl::Status BlameConfig(absl::Status status) {
  status.SetPayload(kBadConfigUrl, absl::Cord());
  return status;
}

int Report(const absl::Status& status) {
  if (!status.ok()) std::fprintf(stderr, "bitdial: %s\n", std::string(status.message()).c_str());
  return ExitCodeOf(status);
}

CLI::Validator NumberIn(double min, double max) {
  const auto check = [min, max](std::string& text) -> std::string {
    double value = 0;
    if (CLI::detail::lexical_cast(text, value) && value >= min && value <= max) return "";
    return fmt::format("got \"{}\", expected a number in [{}, {}]", text, min, max);
  };
  return CLI::Validator(check, fmt::format("in [{}, {}]", min, max));
}

CLI::Validator IsSeed() {
  const auto check = [](std::string& text) -> std::string {
    uint64_t value = 0;
    const char* const end = text.data() + text.size();
    const std::from_chars_result parsed = std::from_chars(text.data(), end, value);
    if (parsed.ec == std::errc() && parsed.ptr == end) return "";
    return fmt::format("got \"{}\", expected a whole number in [0, {}]", text, UINT64_MAX);
  };
  return CLI::Validator(check, "");
}

}  // namespace bitdial::server
