#include "server/security/tls_credentials.h"

#include <fcntl.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace bitdial::server {
namespace {

constexpr unsigned kWatchSeconds = 1;

std::string PathOf(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

absl::Status MemoryError(const char* action) {
  return Unavailable("cannot {} in memory, where certificates are kept: {}", action,
                     std::strerror(errno));
}

// `text` as a file of its own behind `fd`; -1 makes a new one. Who opens PathOf(fd) sees the old
// text or the new, never half of it: dup3 is one step.
absl::Status PutInto(int& fd, const std::string& text) {
  const int fresh = memfd_create("bitdial-tls", MFD_CLOEXEC);
  if (fresh < 0) return MemoryError("make a file");
  const ssize_t num_written = write(fresh, text.data(), text.size());
  if (num_written != static_cast<ssize_t>(text.size())) {
    const absl::Status status = MemoryError("write a file");
    close(fresh);
    return status;
  }
  if (fd < 0) {
    fd = fresh;
    return access(PathOf(fd).c_str(), R_OK) == 0 ? absl::OkStatus() : MemoryError("find a file");
  }
  const bool is_put = dup3(fresh, fd, O_CLOEXEC) >= 0;
  const absl::Status status = is_put ? absl::OkStatus() : MemoryError("replace a file");
  close(fresh);
  return status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TlsCredentials>> TlsCredentials::Make(const TlsMaterial& material) {
  using grpc::experimental::FileWatcherCertificateProvider;
  std::unique_ptr<TlsCredentials> tls(new TlsCredentials());
  BITDIAL_RETURN_IF_ERROR(PutInto(tls->identity_fd_, material.identity));
  const bool has_ca = !material.client_ca.empty();
  if (has_ca) BITDIAL_RETURN_IF_ERROR(PutInto(tls->client_ca_fd_, material.client_ca));
  const std::string identity =
      PathOf(tls->identity_fd_);  // the key and the chain: both in one file
  grpc::experimental::TlsServerCredentialsOptions options(
      std::make_shared<FileWatcherCertificateProvider>(
          identity, identity, has_ca ? PathOf(tls->client_ca_fd_) : "", kWatchSeconds));
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(has_ca ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                       : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  if (has_ca) options.watch_root_certs();
  tls->grpc_ = grpc::experimental::TlsServerCredentials(options);
  return tls;
}

TlsCredentials::~TlsCredentials() {
  grpc_.reset();
  if (identity_fd_ >= 0) close(identity_fd_);
  if (client_ca_fd_ >= 0) close(client_ca_fd_);
}

absl::Status TlsCredentials::Replace(const TlsMaterial& material) {
  BITDIAL_RETURN_IF_ERROR(PutInto(identity_fd_, material.identity));
  if (client_ca_fd_ < 0) return absl::OkStatus();
  return PutInto(client_ca_fd_, material.client_ca);
}

}  // namespace bitdial::server
