#include "server/security/tls_files.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <vector>

#include "server/security/small_file.h"

namespace bitdial::server {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr size_t kMaxCertificates = 1024;

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

Owned<BIO> Reader(const std::string& text) {
  return Owned<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// Why OpenSSL refused, in its words; empties its list of errors.
std::string SslReason() {
  const unsigned long error = ERR_get_error();
  ERR_clear_error();
  const char* reason = ERR_reason_error_string(error);
  return reason == nullptr ? "OpenSSL gives no reason" : reason;
}

// A key with a passphrase must not make OpenSSL ask at the terminal.
int NoPassphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

absl::StatusOr<std::vector<Owned<X509>>> ParseCertificates(const std::string& pem,
                                                           const std::string& what) {
  ERR_clear_error();
  const Owned<BIO> reader = Reader(pem);
  std::vector<Owned<X509>> certificates;
  while (certificates.size() < kMaxCertificates) {
    Owned<X509> certificate(PEM_read_bio_X509(reader.get(), nullptr, nullptr, nullptr));
    if (certificate == nullptr) break;
    certificates.push_back(std::move(certificate));
  }
  const bool is_at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (certificates.empty() && is_at_end) {
    ERR_clear_error();
    return InvalidArgument("{}: holds no certificate in PEM (-----BEGIN CERTIFICATE-----)", what);
  }
  if (!is_at_end) {
    return InvalidArgument("{}: certificate {} is damaged: {}", what, certificates.size() + 1,
                           SslReason());
  }
  ERR_clear_error();
  return certificates;
}

absl::StatusOr<Owned<EVP_PKEY>> ParseKey(const std::string& pem, const std::string& what) {
  ERR_clear_error();
  bool is_locked = false;
  Owned<EVP_PKEY> key(
      PEM_read_bio_PrivateKey(Reader(pem).get(), nullptr, &NoPassphrase, &is_locked));
  if (key != nullptr) return key;
  const std::string reason = SslReason();
  if (is_locked) {
    return InvalidArgument("{}: the key has a passphrase; give the server one without", what);
  }
  return InvalidArgument("{}: holds no private key in PEM (-----BEGIN PRIVATE KEY-----): {}", what,
                         reason);
}

absl::Status CheckDates(const X509& certificate, const std::string& what) {
  const auto text = [](const ASN1_TIME* time) -> std::string {
    const Owned<BIO> writer(BIO_new(BIO_s_mem()));
    ASN1_TIME_print(writer.get(), time);
    char* data = nullptr;
    const long size = BIO_get_mem_data(writer.get(), &data);
    return {data, static_cast<size_t>(size)};
  };
  const ASN1_TIME* const begin = X509_get0_notBefore(&certificate);
  const ASN1_TIME* const end = X509_get0_notAfter(&certificate);
  if (X509_cmp_current_time(end) <= 0) {
    return InvalidArgument("{}: the certificate expired on {}; renew it", what, text(end));
  }
  if (X509_cmp_current_time(begin) > 0) {
    return InvalidArgument("{}: the certificate is valid from {} on; is the clock right?", what,
                           text(begin));
  }
  return absl::OkStatus();
}

// What TLS itself says of the pair: keys that are too small, and so on.
absl::Status CheckUsable(X509& certificate, EVP_PKEY& key, const std::string& what) {
  ERR_clear_error();
  const Owned<SSL_CTX> context(SSL_CTX_new(TLS_server_method()));
  if (context != nullptr && SSL_CTX_use_certificate(context.get(), &certificate) == 1 &&
      SSL_CTX_use_PrivateKey(context.get(), &key) == 1) {
    return absl::OkStatus();
  }
  return InvalidArgument("{}: TLS does not take this certificate: {}", what, SslReason());
}

// "tls_cert FILE", as messages begin, and what is in it.
struct File {
  std::string what, text;
};

absl::StatusOr<File> Read(const char* key, const std::string& path) {
  File file = {.what = std::string(key) + " " + path, .text = ""};
  absl::StatusOr<std::string> text = ReadSmallFile(path, kMaxFileBytes);
  if (!text.ok()) return Annotate(text.status(), key);
  file.text = *std::move(text);
  return file;
}

}  // namespace

absl::StatusOr<TlsMaterial> ReadTlsFiles(const ServerConfig& config) {
  BITDIAL_ASSIGN_OR_RETURN(const File chain, Read("tls_cert", config.tls_cert));
  BITDIAL_ASSIGN_OR_RETURN(const File key, Read("tls_key", config.tls_key));
  BITDIAL_ASSIGN_OR_RETURN(const auto certificates, ParseCertificates(chain.text, chain.what));
  BITDIAL_ASSIGN_OR_RETURN(const Owned<EVP_PKEY> private_key, ParseKey(key.text, key.what));
  X509& certificate = *certificates.front();
  BITDIAL_RETURN_IF_ERROR(CheckDates(certificate, chain.what));
  if (X509_check_private_key(&certificate, private_key.get()) != 1) {
    ERR_clear_error();
    return InvalidArgument("{}: is not the key of the first certificate in {}", key.what,
                           config.tls_cert);
  }
  BITDIAL_RETURN_IF_ERROR(CheckUsable(certificate, *private_key, chain.what));
  TlsMaterial material = {.identity = key.text + "\n" + chain.text, .client_ca = ""};
  if (config.tls_client_ca.empty()) return material;
  BITDIAL_ASSIGN_OR_RETURN(const File client_ca, Read("tls_client_ca", config.tls_client_ca));
  BITDIAL_RETURN_IF_ERROR(ParseCertificates(client_ca.text, client_ca.what).status());
  material.client_ca = client_ca.text;
  return material;
}

}  // namespace bitdial::server
