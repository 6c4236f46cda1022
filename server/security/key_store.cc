#include "server/security/key_store.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "server/security/small_file.h"

namespace bitdial::server {
namespace {

constexpr size_t kMaxFileBytes = 4 << 20;
constexpr char kScheme[] = "Bearer ";
constexpr size_t kSchemeSize = sizeof(kScheme) - 1;

}  // namespace

absl::StatusOr<std::unique_ptr<KeyStore>> KeyStore::Open(const std::string& path) {
  std::unique_ptr<KeyStore> store(new KeyStore(path));
  if (path.empty()) return store;
  BITDIAL_ASSIGN_OR_RETURN(store->seen_, ReadSmallFile(path, kMaxFileBytes));
  BITDIAL_ASSIGN_OR_RETURN(KeyTable table, ParseKeyFile(store->seen_, path));
  store->table_ = std::make_shared<const KeyTable>(std::move(table));
  return store;
}

absl::StatusOr<Principal> KeyStore::Authenticate(
    const std::optional<std::string>& authorization) const {
  if (!has_keys()) return Principal{.name = "", .scopes = {kScopes.begin(), kScopes.end()}};
  if (!authorization.has_value() || authorization->compare(0, kSchemeSize, kScheme) != 0) {
    return absl::UnauthenticatedError(
        "no API key; send one header \"authorization: Bearer KEY\" with every call");
  }
  const std::string key = authorization->substr(kSchemeSize);
  const absl::Status refused = absl::UnauthenticatedError(
      "the API key is not one of this server's; ask who runs it for a new one");
  const std::optional<std::string> id = IdOfApiKey(key);
  if (!id.has_value()) return refused;
  std::shared_ptr<const KeyTable> table;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    table = table_;
  }
  const auto found = table->find(*id);
  if (found == table->end()) return refused;
  const KeyRecord& record = found->second;
  if (!IsSameHash(HashApiKey(record.salt, key), record.hash)) return refused;
  return record.principal;
}

void KeyStore::Refresh() {
  if (!has_keys()) return;
  const absl::StatusOr<std::string> text = ReadSmallFile(path_, kMaxFileBytes);
  std::string now = text.ok() ? *text : text.status().ToString();
  if (now == seen_) return;
  seen_ = std::move(now);
  absl::StatusOr<KeyTable> table = text.ok() ? ParseKeyFile(*text, path_) : text.status();
  if (!table.ok()) {
    spdlog::error("{}; the keys stay as they were", std::string(table.status().message()));
    return;
  }
  spdlog::info("{}: {} keys in force", path_, table->size());
  const std::lock_guard<std::mutex> lock(mutex_);
  table_ = std::make_shared<const KeyTable>(*std::move(table));
}

}  // namespace bitdial::server
