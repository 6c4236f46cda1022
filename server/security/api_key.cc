#include "server/security/api_key.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>

#include "kernels/core/check.h"

namespace bitdial::server {
namespace {

constexpr char kPrefix[] = "bd_";
constexpr size_t kPrefixSize = sizeof(kPrefix) - 1;
constexpr size_t kIdBytes = 8;
constexpr size_t kSecretBytes = 32;
constexpr size_t kSecretLetters = 43;  // ceil(256 / 6)
constexpr char kHexDigits[] = "0123456789abcdef";
constexpr char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

absl::Status FillRandom(uint8_t* bytes, size_t size) {
  if (RAND_bytes(bytes, static_cast<int>(size)) == 1) return absl::OkStatus();
  return Unavailable("the system gives no random bytes; no key can be made");
}

std::string ToBase64Url(const std::array<uint8_t, kSecretBytes>& bytes) {
  std::string text;
  uint32_t bits = 0;
  int num_bits = 0;
  for (const uint8_t byte : bytes) {
    bits = (bits << 8) | byte;
    num_bits += 8;
    for (; num_bits >= 6; num_bits -= 6) text += kLetters[(bits >> (num_bits - 6)) & 63u];
  }
  text += kLetters[(bits << (6 - num_bits)) & 63u];
  return text;
}

bool IsLetter(char c) { return c != '\0' && std::strchr(kLetters, c) != nullptr; }

}  // namespace

absl::StatusOr<std::string> MakeApiKey() {
  std::array<uint8_t, kIdBytes> id;
  std::array<uint8_t, kSecretBytes> secret;
  BITDIAL_RETURN_IF_ERROR(FillRandom(id.data(), id.size()));
  BITDIAL_RETURN_IF_ERROR(FillRandom(secret.data(), secret.size()));
  return kPrefix + ToHex(id.data(), id.size()) + "_" + ToBase64Url(secret);
}

absl::StatusOr<KeySalt> MakeKeySalt() {
  KeySalt salt;
  BITDIAL_RETURN_IF_ERROR(FillRandom(salt.data(), salt.size()));
  return salt;
}

std::optional<std::string> IdOfApiKey(const std::string& key) {
  constexpr size_t kIdEnd = kPrefixSize + 2 * kIdBytes;
  if (key.size() != kIdEnd + 1 + kSecretLetters) return std::nullopt;
  if (key.compare(0, kPrefixSize, kPrefix) != 0 || key[kIdEnd] != '_') return std::nullopt;
  std::string id = key.substr(kPrefixSize, 2 * kIdBytes);
  std::array<uint8_t, kIdBytes> ignored;
  if (!FromHex(id, ignored.data(), ignored.size())) return std::nullopt;
  if (!std::all_of(key.begin() + kIdEnd + 1, key.end(), IsLetter)) return std::nullopt;
  return id;
}

KeyHash HashApiKey(const KeySalt& salt, const std::string& key) {
  const std::string salted = std::string(salt.begin(), salt.end()) + key;
  KeyHash hash;
  BITDIAL_CHECK(
      EVP_Digest(salted.data(), salted.size(), hash.data(), nullptr, EVP_sha256(), nullptr) == 1);
  return hash;
}

bool IsSameHash(const KeyHash& a, const KeyHash& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string ToHex(const uint8_t* bytes, size_t size) {
  std::string hex;
  for (size_t i = 0; i < size; ++i) {
    hex += kHexDigits[bytes[i] >> 4];
    hex += kHexDigits[bytes[i] & 15u];
  }
  return hex;
}

bool FromHex(const std::string& hex, uint8_t* bytes, size_t size) {
  if (hex.size() != 2 * size) return false;
  for (size_t i = 0; i < hex.size(); ++i) {
    const char* digit = hex[i] == '\0' ? nullptr : std::strchr(kHexDigits, hex[i]);
    if (digit == nullptr) return false;
    const auto value = static_cast<uint8_t>(digit - kHexDigits);
    bytes[i / 2] = static_cast<uint8_t>(i % 2 == 0 ? value << 4 : bytes[i / 2] | value);
  }
  return true;
}

}  // namespace bitdial::server
