// What a caller shows, and what we keep of it.
//
//   bd_<id>_<secret>     id: 16 hex digits, finds the key's line in the file; not secret
//                        secret: 256 random bits in 43 letters of base64url
//
// The file holds SHA-256(salt, key). A fast hash is enough: nobody guesses 256 random bits, and
// keys are made here, never chosen.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "kernels/core/status.h"

namespace bitdial::server {

using KeySalt = std::array<uint8_t, 16>;
using KeyHash = std::array<uint8_t, 32>;

// A new key from the system's randomness. Errors  UNAVAILABLE there is none.
absl::StatusOr<std::string> MakeApiKey();
absl::StatusOr<KeySalt> MakeKeySalt();

// nullopt: `key` has not the form above.
std::optional<std::string> IdOfApiKey(const std::string& key);

KeyHash HashApiKey(const KeySalt& salt, const std::string& key);
// In a time that does not depend on where they differ (CVE-2025-59425).
bool IsSameHash(const KeyHash& a, const KeyHash& b);

std::string ToHex(const uint8_t* bytes, size_t size);
// False unless `hex` is exactly 2 * size digits 0-9, a-f.
bool FromHex(const std::string& hex, uint8_t* bytes, size_t size);

}  // namespace bitdial::server
