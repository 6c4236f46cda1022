#include "server/rpc/rpc_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace bitdial::server {
namespace {

google::rpc::Status Details(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  return details;
}

template <typename Detail>
std::optional<Detail> Find(const grpc::Status& status) {
  Detail detail;
  const google::rpc::Status details = Details(status);  // outlives the loop
  for (const auto& any : details.details()) {
    if (any.UnpackTo(&detail)) return detail;
  }
  return std::nullopt;
}

TEST(ToGrpcStatus, KeepsEveryCodeAndExplainsIt) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  const std::pair<absl::StatusCode, grpc::StatusCode> codes[] = {
      {absl::StatusCode::kCancelled, grpc::StatusCode::CANCELLED},
      {absl::StatusCode::kUnknown, grpc::StatusCode::UNKNOWN},
      {absl::StatusCode::kInvalidArgument, grpc::StatusCode::INVALID_ARGUMENT},
      {absl::StatusCode::kDeadlineExceeded, grpc::StatusCode::DEADLINE_EXCEEDED},
      {absl::StatusCode::kNotFound, grpc::StatusCode::NOT_FOUND},
      {absl::StatusCode::kAlreadyExists, grpc::StatusCode::ALREADY_EXISTS},
      {absl::StatusCode::kPermissionDenied, grpc::StatusCode::PERMISSION_DENIED},
      {absl::StatusCode::kResourceExhausted, grpc::StatusCode::RESOURCE_EXHAUSTED},
      {absl::StatusCode::kFailedPrecondition, grpc::StatusCode::FAILED_PRECONDITION},
      {absl::StatusCode::kAborted, grpc::StatusCode::ABORTED},
      {absl::StatusCode::kOutOfRange, grpc::StatusCode::OUT_OF_RANGE},
      {absl::StatusCode::kUnimplemented, grpc::StatusCode::UNIMPLEMENTED},
      {absl::StatusCode::kInternal, grpc::StatusCode::INTERNAL},
      {absl::StatusCode::kUnavailable, grpc::StatusCode::UNAVAILABLE},
      {absl::StatusCode::kDataLoss, grpc::StatusCode::DATA_LOSS},
      {absl::StatusCode::kUnauthenticated, grpc::StatusCode::UNAUTHENTICATED}};
  for (const auto& [ours, wire] : codes) {
    const grpc::Status status = ToGrpcStatus(absl::Status(ours, "why"));
    EXPECT_EQ(status.error_code(), wire);
    EXPECT_EQ(status.error_message(), "why");
    EXPECT_EQ(Details(status).code(), wire);
    EXPECT_EQ(Details(status).message(), "why");
    const auto info = Find<google::rpc::ErrorInfo>(status);
    ASSERT_TRUE(info.has_value());
    EXPECT_EQ(info->domain(), "bitdial");
    EXPECT_EQ(info->reason(), absl::StatusCodeToString(ours));
    const bool may_retry =
        wire == grpc::StatusCode::UNAVAILABLE || wire == grpc::StatusCode::RESOURCE_EXHAUSTED;
    EXPECT_EQ(Find<google::rpc::RetryInfo>(status).has_value(), may_retry);
  }
}

TEST(WithReason, TheFirstReasonStays) {
  const absl::Status status =
      WithReason(WithReason(Unavailable("x"), kReasonDraining), kReasonLoading);
  EXPECT_EQ(Find<google::rpc::ErrorInfo>(ToGrpcStatus(status))->reason(), kReasonDraining);
  EXPECT_TRUE(WithReason(absl::OkStatus(), kReasonLoading).ok());
}

TEST(FieldViolations, ListsFieldsInMessageAndDetails) {
  FieldViolations violations;
  EXPECT_TRUE(violations.ToStatus().ok());
  violations.Add("a.b", "is wrong");
  violations.Add("c[1]", "too");
  const grpc::Status status = ToGrpcStatus(violations.ToStatus());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "a.b: is wrong; c[1]: too");
  const auto bad_request = Find<google::rpc::BadRequest>(status);
  ASSERT_TRUE(bad_request.has_value());
  ASSERT_EQ(bad_request->field_violations_size(), 2);
  EXPECT_EQ(bad_request->field_violations(1).field(), "c[1]");
  EXPECT_EQ(bad_request->field_violations(1).description(), "too");
  EXPECT_EQ(Find<google::rpc::ErrorInfo>(status)->reason(), kReasonInvalidField);
}

// Clients refuse trailing metadata over 8 KiB by default: whatever is wrong, message
// (percent-encoded by gRPC, up to three times as long) and details (base64) stay below.
TEST(FieldViolations, StaysSmallWhateverIsWrong) {
  FieldViolations violations;
  for (int i = 0; i < 100000; ++i) violations.Add("field", std::string(100000, 'x'));
  const grpc::Status status = ToGrpcStatus(violations.ToStatus());
  EXPECT_THAT(status.error_message(), ::testing::HasSubstr("field: xxx"));
  EXPECT_LT(3 * status.error_message().size() + status.error_details().size() * 4 / 3, 8000);
}

TEST(TruncateUtf8, NeverSplitsACharacter) {
  EXPECT_EQ(TruncateUtf8("short", 10), "short");
  const std::string text = "ää€€𝄞𝄞";
  for (size_t size = 3; size < text.size(); ++size) {
    const std::string cut = TruncateUtf8(text, size);
    EXPECT_LE(cut.size(), size);
    const std::string kept = cut.substr(0, cut.size() - 3);
    EXPECT_EQ(text.compare(0, kept.size(), kept), 0);
    EXPECT_NE(static_cast<unsigned char>(text[kept.size()]) & 0xC0u, 0x80u) << size;
  }
}

}  // namespace
}  // namespace bitdial::server
