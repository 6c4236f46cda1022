// Statuses on the wire: absl::Status to grpc::Status, with google.rpc details a client can read by
// machine.
//
// Details travel inside absl::Status as payloads (ErrorInfo, BadRequest), so that whoever finds the
// error says why and nobody in between has to know. docs/api.md lists the reasons.
#pragma once

#include <grpcpp/support/status.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "kernels/core/status.h"

namespace bitdial::server {

// ErrorInfo.reason: stable names, domain "bitdial".
inline constexpr char kReasonInvalidField[] = "INVALID_FIELD";
inline constexpr char kReasonMalformedRequest[] = "MALFORMED_REQUEST";
inline constexpr char kReasonUnknownModel[] = "UNKNOWN_MODEL";
inline constexpr char kReasonNotBuilt[] = "NOT_BUILT";
inline constexpr char kReasonNoChatTemplate[] = "NO_CHAT_TEMPLATE";
inline constexpr char kReasonLoading[] = "LOADING";
inline constexpr char kReasonDraining[] = "DRAINING";
inline constexpr char kReasonQueueFull[] = "QUEUE_FULL";
inline constexpr char kReasonSlowReader[] = "SLOW_READER";
inline constexpr char kReasonBadApiKey[] = "BAD_API_KEY";
inline constexpr char kReasonWrongScope[] = "WRONG_SCOPE";
inline constexpr char kReasonDuplicateId[] = "DUPLICATE_REQUEST_ID";
inline constexpr char kReasonRateLimit[] = "RATE_LIMIT";
inline constexpr char kReasonConcurrencyLimit[] = "CONCURRENCY_LIMIT";
inline constexpr char kReasonCancelCalled[] = "CANCEL_CALLED";

// The same status carrying ErrorInfo{reason}; a reason it already has stays.
absl::Status WithReason(absl::Status status, const std::string& reason);

// The same status carrying RequestInfo{request_id}, so that a client can name the request to
// whoever reads the log.
absl::Status WithRequestId(absl::Status status, const std::string& request_id);
// ... ResourceInfo{type, name}: what was not found.
absl::Status WithResource(absl::Status status, const std::string& type, const std::string& name);
// ... QuotaFailure{subject: whose, description: which limit} and, unless `retry` is zero, how long
// to wait before another try in place of the second that every RESOURCE_EXHAUSTED says.
absl::Status WithQuota(absl::Status status, const std::string& subject,
                       const std::string& description,
                       std::chrono::milliseconds retry = std::chrono::milliseconds(0));

// What ErrorInfo.reason of this error says to the client: WithReason's, else the code's name.
std::string ReasonOf(const absl::Status& status);

// Wrong values of one request, collected so that the client sees them together.
class FieldViolations {
 public:
  // field: path from the request, "params.sampling.top_p" or "params.stopping.stop[3]". Beyond
  // kMaxKept only the count goes on: details travel in trailing metadata, of which clients take 8
  // KiB.
  void Add(std::string field, std::string description);
  bool empty() const { return num_found_ == 0; }
  // OK when empty, else INVALID_ARGUMENT with one ErrorInfo and one BadRequest.
  absl::Status ToStatus() const;

 private:
  static constexpr size_t kMaxKept = 8;
  static constexpr size_t kMaxDescriptionBytes = 200;
  std::vector<std::pair<std::string, std::string>> kept_;
  size_t num_found_ = 0;
};

// Codes keep their numbers. Every error gets an ErrorInfo (reason: the code's name when none was
// set); UNAVAILABLE and RESOURCE_EXHAUSTED, the two a client may retry, also a RetryInfo. Messages
// are cut at 1 KiB.
grpc::Status ToGrpcStatus(const absl::Status& status);

// `text` cut to at most max_bytes without splitting a UTF-8 character; "..." marks the cut.
std::string TruncateUtf8(const std::string& text, size_t max_bytes);

}  // namespace bitdial::server
