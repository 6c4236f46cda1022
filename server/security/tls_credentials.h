// gRPC's TLS, fed with material that we have checked.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "server/security/tls_files.h"

namespace bitdial::server {

// gRPC 1.51 reloads certificates only from files, and forgets the good ones when it finds bad ones.
// So it watches files in memory (memfd, read through /proc/self/fd), and what lies there has always
// been checked. No key touches a disk. TLS 1.2 and 1.3.
class TlsCredentials {
 public:
  // Errors  UNAVAILABLE the system has no memfd or no /proc.
  static absl::StatusOr<std::unique_ptr<TlsCredentials>> Make(const TlsMaterial& material);
  ~TlsCredentials();
  TlsCredentials(const TlsCredentials&) = delete;
  TlsCredentials& operator=(const TlsCredentials&) = delete;

  const std::shared_ptr<grpc::ServerCredentials>& grpc() const { return grpc_; }

  // Connections that begin some two seconds later see it; those that are open go on. Whether
  // clients need certificates cannot change. Thread  one at a time.
  absl::Status Replace(const TlsMaterial& material);

 private:
  TlsCredentials() = default;

  int identity_fd_ = -1, client_ca_fd_ = -1;
  std::shared_ptr<grpc::ServerCredentials> grpc_;
};

}  // namespace bitdial::server
