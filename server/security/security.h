// Everything of a server's security that lives in files, kept up to date with them.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "server/config/config.h"
#include "server/security/key_store.h"
#include "server/security/tls_credentials.h"

namespace bitdial::server {

// Looks at the files every second. New ones that are wrong are logged, once, and change nothing.
// Thread   const: any.
class Security {
 public:
  // Errors  those of ReadTlsFiles, TlsCredentials::Make and KeyStore::Open. Messages begin with the
  // configuration's key.
  static absl::StatusOr<std::unique_ptr<Security>> Open(const ServerConfig& config);
  ~Security();

  const KeyStore& keys() const { return *keys_; }
  // TLS, or none. A server keeps them beyond this object, which must outlive its last new
  // connection.
  std::shared_ptr<grpc::ServerCredentials> credentials() const;
  // "TLS, client certificates, API keys", "no TLS, no API keys": for the log.
  std::string Describe() const;

 private:
  explicit Security(const ServerConfig& config) : config_(config) {}
  void Watch();
  void RefreshTls();

  const ServerConfig config_;
  std::unique_ptr<KeyStore> keys_;
  TlsMaterial material_;                 // in force
  std::string tls_complaint_;            // the last logged
  std::unique_ptr<TlsCredentials> tls_;  // nullptr: no TLS

  std::mutex mutex_;
  std::condition_variable stopped_;
  bool is_stopping_ = false;
  std::thread thread_;  // last: it uses the members above
};

}  // namespace bitdial::server
