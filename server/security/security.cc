#include "server/security/security.h"

#include <spdlog/spdlog.h>

#include <chrono>

namespace bitdial::server {
namespace {

constexpr std::chrono::seconds kPeriod(1);

}  // namespace

absl::StatusOr<std::unique_ptr<Security>> Security::Open(const ServerConfig& config) {
  std::unique_ptr<Security> security(new Security(config));
  absl::StatusOr<std::unique_ptr<KeyStore>> keys = KeyStore::Open(config.keys_file);
  if (!keys.ok()) return Annotate(keys.status(), "keys_file");
  security->keys_ = *std::move(keys);
  if (!config.tls_cert.empty()) {
    BITDIAL_ASSIGN_OR_RETURN(security->material_, ReadTlsFiles(config));
    BITDIAL_ASSIGN_OR_RETURN(security->tls_, TlsCredentials::Make(security->material_));
  }
  if (security->tls_ != nullptr || security->keys_->has_keys())
    security->thread_ = std::thread([raw = security.get()] { raw->Watch(); });
  return security;
}

Security::~Security() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_stopping_ = true;
  }
  stopped_.notify_one();
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<grpc::ServerCredentials> Security::credentials() const {
  return tls_ == nullptr ? grpc::InsecureServerCredentials() : tls_->grpc();
}

std::string Security::Describe() const {
  std::string text = tls_ == nullptr ? "no TLS" : "TLS";
  if (!material_.client_ca.empty()) text += " with client certificates";
  return text + (keys_->has_keys() ? ", API keys" : ", no API keys");
}

void Security::Watch() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopped_.wait_for(lock, kPeriod, [this] { return is_stopping_; })) {
    lock.unlock();
    keys_->Refresh();
    if (tls_ != nullptr) RefreshTls();
    lock.lock();
  }
}

void Security::RefreshTls() {
  const absl::StatusOr<TlsMaterial> material = ReadTlsFiles(config_);
  absl::Status status = material.status();
  if (status.ok() && *material != material_) {
    status = tls_->Replace(*material);
    if (status.ok()) {
      material_ = *material;
      spdlog::info("{}: a new certificate is in force", config_.tls_cert);
    }
  }
  const std::string complaint = status.ok() ? "" : std::string(status.message());
  if (complaint != tls_complaint_ && !complaint.empty())
    spdlog::error("{}; the certificate stays as it was", complaint);
  tls_complaint_ = complaint;
}

}  // namespace bitdial::server
