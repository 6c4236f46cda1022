// Messages in and out of gRPC's byte buffers. The service takes raw bytes, so that a malformed
// request gets a status of ours that says so (gRPC's own decoding answers INTERNAL with an empty
// message).
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include "kernels/core/status.h"

namespace bitdial::server {

// Protobuf writes a line to stderr for each string that is not UTF-8; a client must not be able to
// fill the log.
void SilenceProtobuf();

grpc::ByteBuffer ToByteBuffer(const google::protobuf::Message& message);

// Errors  INVALID_ARGUMENT: not the wire form of the message's type, or a string in it is not
// UTF-8.
absl::Status FromByteBuffer(const grpc::ByteBuffer& buffer, google::protobuf::Message& message);

}  // namespace bitdial::server
