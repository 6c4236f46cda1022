// Certificates and their key, read and checked before anybody relies on them.
#pragma once

#include <string>

#include "kernels/core/status.h"
#include "server/config/config.h"

namespace bitdial::server {

struct TlsMaterial {
  std::string identity;   // PEM: the private key, then the server's certificate and its chain
  std::string client_ca;  // PEM; empty: clients need no certificate

  bool operator==(const TlsMaterial&) const = default;
};

// The files of tls_cert, tls_key and tls_client_ca. Messages begin with the key.
// Errors  NOT_FOUND, PERMISSION_DENIED, ... a file cannot be read;
//         INVALID_ARGUMENT no PEM certificate or key, a key with a passphrase, a key that is not
//         the certificate's, a certificate that is not valid now, or one that TLS would not take
//         (says why).
absl::StatusOr<TlsMaterial> ReadTlsFiles(const ServerConfig& config);

}  // namespace bitdial::server
