// absl::Status made short: formatted errors and the two early-return macros.
//
// A message says what, where, got, expected and what to do, for example
//   InvalidArgument("{}: tensor \"{}\": group_size {} does not divide in_features {}; use --group-size {}", ...)
// Debian 12's Abseil has its own string_view, so messages cross as std::string.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bitdial {

template <typename... Args>
absl::Status MakeStatus(absl::StatusCode code, fmt::format_string<Args...> format, Args&&... args) {
  return absl::Status(code, fmt::format(format, std::forward<Args>(args)...));
}

#define BITDIAL_DEFINE_STATUS(Name)                                                  \
  template <typename... Args>                                                        \
  absl::Status Name(fmt::format_string<Args...> format, Args&&... args) {            \
    return MakeStatus(absl::StatusCode::k##Name, format, std::forward<Args>(args)...); \
  }
BITDIAL_DEFINE_STATUS(InvalidArgument)     // the caller's value is wrong
BITDIAL_DEFINE_STATUS(NotFound)            // a file, tensor or model is not there
BITDIAL_DEFINE_STATUS(AlreadyExists)       // an output would be overwritten
BITDIAL_DEFINE_STATUS(ResourceExhausted)   // a queue, the memory or the disk is full
BITDIAL_DEFINE_STATUS(FailedPrecondition)  // model and build or machine do not match
BITDIAL_DEFINE_STATUS(Unimplemented)       // known but not built
BITDIAL_DEFINE_STATUS(Unavailable)         // loading or draining: try again
BITDIAL_DEFINE_STATUS(DataLoss)            // a file is damaged or malformed
BITDIAL_DEFINE_STATUS(Internal)            // an invariant of ours is broken
#undef BITDIAL_DEFINE_STATUS

// The same status with `where` written in front of its message.
inline absl::Status Annotate(const absl::Status& status, const std::string& where) {
  if (status.ok()) return status;
  return absl::Status(status.code(), where + ": " + std::string(status.message()));
}

}  // namespace bitdial

#define BITDIAL_CONCAT_INNER(a, b) a##b
#define BITDIAL_CONCAT(a, b) BITDIAL_CONCAT_INNER(a, b)

#define BITDIAL_RETURN_IF_ERROR(expression)                  \
  do {                                                       \
    absl::Status bitdial_status = (expression);              \
    if (!bitdial_status.ok()) return bitdial_status;         \
  } while (false)

// BITDIAL_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
#define BITDIAL_ASSIGN_OR_RETURN(lhs, expression) \
  BITDIAL_ASSIGN_OR_RETURN_IMPL(BITDIAL_CONCAT(bitdial_statusor_, __LINE__), lhs, expression)
#define BITDIAL_ASSIGN_OR_RETURN_IMPL(statusor, lhs, expression) \
  auto statusor = (expression);                                  \
  if (!statusor.ok()) return std::move(statusor).status();       \
  lhs = std::move(statusor).value()
