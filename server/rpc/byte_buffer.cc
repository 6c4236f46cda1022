#include "server/rpc/byte_buffer.h"

#include <climits>
#include <string>

#include "server/rpc/rpc_status.h"

namespace bitdial::server {

void SilenceProtobuf() {
#if GOOGLE_PROTOBUF_VERSION < 4022000  // later releases log through Abseil, errors of ours only
  google::protobuf::SetLogHandler(nullptr);
#endif
}

grpc::ByteBuffer ToByteBuffer(const google::protobuf::Message& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

absl::Status FromByteBuffer(const grpc::ByteBuffer& buffer, google::protobuf::Message& message) {
  // Protobuf reports only that parsing failed; both causes are named because only the client knows
  // which it can be.
  const auto malformed = [&] {
    return WithReason(
        InvalidArgument(
            "the request is no {}: truncated or malformed protobuf, or a string is not UTF-8",
            std::string(message.GetDescriptor()->full_name())),
        kReasonMalformedRequest);
  };
  if (!buffer.Valid() || buffer.Length() == 0) return absl::OkStatus();  // the empty message
  grpc::Slice slice;
  if (!buffer.DumpToSingleSlice(&slice).ok() || slice.size() > INT_MAX) return malformed();
  if (!message.ParseFromArray(slice.begin(), static_cast<int>(slice.size()))) return malformed();
  return absl::OkStatus();
}

}  // namespace bitdial::server
