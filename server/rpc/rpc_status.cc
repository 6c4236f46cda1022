#include "server/rpc/rpc_status.h"

#include "absl/strings/cord.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace bitdial::server {
namespace {

constexpr char kErrorInfoUrl[] = "type.googleapis.com/google.rpc.ErrorInfo";
constexpr char kBadRequestUrl[] = "type.googleapis.com/google.rpc.BadRequest";
constexpr char kQuotaFailureUrl[] = "type.googleapis.com/google.rpc.QuotaFailure";
constexpr char kResourceInfoUrl[] = "type.googleapis.com/google.rpc.ResourceInfo";
constexpr char kRequestInfoUrl[] = "type.googleapis.com/google.rpc.RequestInfo";
constexpr char kRetryInfoUrl[] = "type.googleapis.com/google.rpc.RetryInfo";
// By convention ErrorInfo comes first.
constexpr const char* kDetailUrls[] = {kErrorInfoUrl,    kBadRequestUrl,  kQuotaFailureUrl,
                                       kResourceInfoUrl, kRequestInfoUrl, kRetryInfoUrl};
constexpr char kDomain[] = "bitdial";
constexpr size_t kMaxMessageBytes = 1024;
// What a client is told to wait before it tries again: about one short request.
constexpr std::chrono::seconds kRetryDelay(1);

google::rpc::ErrorInfo MakeErrorInfo(const std::string& reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain(kDomain);
  return info;
}

absl::Status With(absl::Status status, const char* url, const google::protobuf::Message& detail) {
  if (!status.ok()) status.SetPayload(url, absl::Cord(detail.SerializeAsString()));
  return status;
}

google::rpc::RetryInfo MakeRetryInfo(std::chrono::milliseconds delay) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(delay.count() / 1000);
  retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(delay.count() % 1000) * 1'000'000);
  return retry;
}

bool MayRetry(absl::StatusCode code) {
  return code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kResourceExhausted;
}

}  // namespace

absl::Status WithReason(absl::Status status, const std::string& reason) {
  if (!status.ok() && !status.GetPayload(kErrorInfoUrl).has_value()) {
    status.SetPayload(kErrorInfoUrl, absl::Cord(MakeErrorInfo(reason).SerializeAsString()));
  }
  return status;
}

absl::Status WithRequestId(absl::Status status, const std::string& request_id) {
  google::rpc::RequestInfo info;
  info.set_request_id(request_id);
  return With(std::move(status), kRequestInfoUrl, info);
}

absl::Status WithResource(absl::Status status, const std::string& type, const std::string& name) {
  google::rpc::ResourceInfo info;
  info.set_resource_type(type);
  info.set_resource_name(name);
  return With(std::move(status), kResourceInfoUrl, info);
}

absl::Status WithQuota(absl::Status status, const std::string& subject,
                       const std::string& description, std::chrono::milliseconds retry) {
  google::rpc::QuotaFailure failure;
  auto* violation = failure.add_violations();
  violation->set_subject(subject);
  violation->set_description(description);
  status = With(std::move(status), kQuotaFailureUrl, failure);
  if (retry.count() == 0) return status;
  return With(std::move(status), kRetryInfoUrl, MakeRetryInfo(retry));
}

std::string ReasonOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kErrorInfoUrl);
  google::rpc::ErrorInfo info;
  if (payload.has_value() && info.ParseFromString(std::string(*payload))) return info.reason();
  return absl::StatusCodeToString(status.code());
}

void FieldViolations::Add(std::string field, std::string description) {
  ++num_found_;
  if (kept_.size() < kMaxKept) {
    kept_.emplace_back(std::move(field), TruncateUtf8(description, kMaxDescriptionBytes));
  }
}

absl::Status FieldViolations::ToStatus() const {
  if (empty()) return absl::OkStatus();
  google::rpc::BadRequest bad_request;
  std::string message;
  for (const auto& [field, description] : kept_) {
    auto* violation = bad_request.add_field_violations();
    violation->set_field(field);
    violation->set_description(description);
    message += (message.empty() ? "" : "; ") + field + ": " + description;
  }
  if (num_found_ > kept_.size()) message += fmt::format("; and {} more", num_found_ - kept_.size());
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(kBadRequestUrl, absl::Cord(bad_request.SerializeAsString()));
  return WithReason(std::move(status), kReasonInvalidField);
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message = TruncateUtf8(std::string(status.message()), kMaxMessageBytes);
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(message);
  absl::Status explained = WithReason(status, absl::StatusCodeToString(status.code()));
  if (MayRetry(status.code()) && !explained.GetPayload(kRetryInfoUrl).has_value())
    explained = With(std::move(explained), kRetryInfoUrl, MakeRetryInfo(kRetryDelay));
  for (const char* url : kDetailUrls) {
    if (auto payload = explained.GetPayload(url)) {
      auto* any = details.add_details();
      any->set_type_url(url);
      any->set_value(std::string(*payload));
    }
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message,
                      details.SerializeAsString());
}

std::string TruncateUtf8(const std::string& text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  size_t end = max_bytes - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0u) == 0x80u) --end;
  return text.substr(0, end) + "...";
}

}  // namespace bitdial::server
