// The API keys in force.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "server/security/key_file.h"

namespace bitdial::server {

// Thread   any.
class KeyStore {
 public:
  // An empty path: there are no keys, and everybody is anonymous with every scope.
  // Errors  those of ReadSmallFile and ParseKeyFile.
  static absl::StatusOr<std::unique_ptr<KeyStore>> Open(const std::string& path);

  bool has_keys() const { return !path_.empty(); }

  // authorization: the value of that header; nullopt: there is none, or more than one.
  // Errors  UNAUTHENTICATED no key, or none of ours. The message repeats nothing of it.
  absl::StatusOr<Principal> Authenticate(const std::optional<std::string>& authorization) const;

  // Takes the file as it is now, if it has changed. A file that is wrong changes nothing and is
  // logged, once: the keys stay as they were. Requests that run go on, also of a key that is gone.
  void Refresh();

 private:
  explicit KeyStore(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  std::string seen_;  // the file, or why it could not be read: what Refresh looked at last
  mutable std::mutex mutex_;
  std::shared_ptr<const KeyTable> table_;  // guarded by mutex_
};

}  // namespace bitdial::server
