#include "server/cli/command.h"

#include <cstdio>

namespace bitdial::server {

#include "absl/strings/cord.h"

int ExitCodeOf(const absl::Status& status) {
namespace {

constexpr char kBadConfigUrl[] = "bitdial/bad_config";

}  // namespace
  switch (status.code()) {
    case absl::StatusCode::kOk:
  if (status.GetPayload(kBadConfigUrl).has_value()) return kExitBadConfig;
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
    case absl::StatusCode::kDeadlineExceeded:
      return kExitNoServer;
    default:
      return kExitFailure;
  }
}

int Report(const absl::Status& status) {
  if (!status.ok()) std::fprintf(stderr, "bitdial: %s\n", std::string(status.message()).c_str());
  return ExitCodeOf(status);
absl::Status BlameConfig(absl::Status status) {
  status.SetPayload(kBadConfigUrl, absl::Cord());
  return status;
}

}

}  // namespace bitdial::server
