#include "server/security/key_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <set>

#include "server/security/key_store.h"

namespace bitdial::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct MadeKey {
  std::string key, line;
};

MadeKey Make(const std::string& name, std::vector<Scope> scopes = {Scope::kInference}) {
  KeyRecord record;
  record.principal = {.name = name, .scopes = std::move(scopes)};
  const std::string key = *MakeApiKey();
  record.id = *IdOfApiKey(key);
  record.salt = *MakeKeySalt();
  record.hash = HashApiKey(record.salt, key);
  return {key, ToLine(record)};
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

// SHA-256 of sixteen zero bytes and "abc", from Python's hashlib.
TEST(ApiKey, HashIsSha256OfSaltAndKey) {
  const KeyHash hash = HashApiKey(KeySalt{}, "abc");
  EXPECT_EQ(ToHex(hash.data(), hash.size()),
            "277e7ff6d232b9763f4a66e8d05d210da32dac9c6dbce1026ad4cc98acb5fefe");
}

TEST(ApiKey, KeysDifferAndHaveTheForm) {
  std::set<std::string> keys, ids;
  for (int i = 0; i < 100; ++i) {
    const std::string key = *MakeApiKey();
    EXPECT_EQ(key.size(), 63u);
    keys.insert(key);
    ids.insert(*IdOfApiKey(key));
  }
  EXPECT_EQ(keys.size(), 100u);
  EXPECT_EQ(ids.size(), 100u);
}

TEST(ApiKey, OtherFormsHaveNoId) {
  const std::string key = *MakeApiKey();
  std::string upper = key, dot = key, nul = key, prefix = key;
  upper[3] = 'A';
  dot[40] = '.';
  nul[40] = '\0';
  prefix[0] = 'x';
  for (const std::string& wrong : {std::string(), key + "x", key.substr(1), upper, dot, nul, prefix,
                                   std::string(1 << 20, 'a')}) {
    EXPECT_FALSE(IdOfApiKey(wrong).has_value());
  }
}

// CVE-2025-59425 was a comparison that ended at the first byte that differs. A time cannot be
// asserted; that every byte counts can, and the function is CRYPTO_memcmp.
TEST(ApiKey, Cve202559425EveryByteOfTheHashCounts) {
  const KeyHash hash = HashApiKey(KeySalt{}, "abc");
  EXPECT_TRUE(IsSameHash(hash, hash));
  for (size_t i = 0; i < hash.size(); ++i) {
    KeyHash other = hash;
    other[i] ^= 1;
    EXPECT_FALSE(IsSameHash(hash, other)) << i;
  }
}

TEST(KeyFile, ReadsWhatToLineWrites) {
  const MadeKey alice = Make("alice", {Scope::kInference, Scope::kAdmin}), bob = Make("bob");
  const auto table = ParseKeyFile(alice.line + "\n\n \t\r\n" + bob.line, "keys");
  ASSERT_TRUE(table.ok()) << table.status();
  ASSERT_EQ(table->size(), 2u);
  const KeyRecord& record = table->at(*IdOfApiKey(alice.key));
  EXPECT_EQ(record.principal.name, "alice");
  EXPECT_TRUE(record.principal.Has(Scope::kAdmin));
  EXPECT_FALSE(record.principal.Has(Scope::kModels));
  EXPECT_EQ(ToLine(record), alice.line);
  EXPECT_THAT(alice.line, Not(HasSubstr(alice.key.substr(20))));  // a hash, not the key
}

TEST(KeyFile, WrongLinesAreNamed) {
  const std::string good = Make("alice").line;
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string line = good;
    return line.replace(line.find(from), from.size(), to);
  };
  const std::pair<std::string, const char*> cases[] = {
      {"", "holds no key"},
      {"\n\n", "holds no key"},
      {"{", "keys: line 1: is not one JSON object"},
      {"[]", "keys: line 1"},
      {"7", "keys: line 1"},
      {good + "\n" + good, "line 2: the name \"alice\" is there twice"},
      {good + "\n" + with("alice", "bob"), "line 2: the id"},
      {with("alice", ""), "a key's name is 1 to 64"},
      {with("alice", "a b"), "a key's name"},
      {with("alice", "a\\nb"), "a key's name"},
      {with("alice", std::string(65, 'a')), "a key's name"},
      {with("\"inference\"", ""), "is empty"},
      {with("\"inference\"", "\"root\""), "\"root\" is none of inference, models, admin"},
      {with("\"inference\"", "\"models\",\"models\""), "twice"},
      {with("\"id\":\"", "\"id\":\"0"), "\"id\" is no 16 digits"},
      {with("\"salt\":\"", "\"salt\":\"G"), "\"salt\" is no 32 digits"},
      {with("\"sha256\":\"", "\"sha256\":\"00"), "\"sha256\" is no 64 digits"},
      {with("\"id\"", "\"ids\""), "id"},
      {with("}", ",\"max_concurrent_requests\":-1}"), "max_concurrent_requests"},
      {with("}", ",\"max_requests_per_minute\":1.5}"), "max_requests_per_minute"},
      {with("}", ",\"key\":\"x\"}"), "key"}};
  for (const auto& [text, message] : cases) {
    const absl::Status status = ParseKeyFile(text, "keys").status();
    EXPECT_FALSE(status.ok()) << text;
    EXPECT_THAT(Message(status), HasSubstr(message)) << text;
  }
}

TEST(KeyFile, AKeyPutThereByMistakeIsNotRepeated) {
  const std::string key = *MakeApiKey();
  EXPECT_THAT(Message(ParseKeyFile(key, "keys").status()), Not(HasSubstr(key.substr(0, 8))));
}

class KeyStoreTest : public ::testing::Test {
 protected:
  void Write(const std::string& text) { std::ofstream(path_) << text; }
  std::unique_ptr<KeyStore> Open() {
    auto store = KeyStore::Open(path_);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  static absl::StatusCode Ask(const KeyStore& store, const std::string& header) {
    return store.Authenticate(header).status().code();
  }
  const std::string path_ = ::testing::TempDir() + "/key_store_test.jsonl";
};

TEST_F(KeyStoreTest, TakesOurKeysAlone) {
  const MadeKey alice = Make("alice"), bob = Make("bob"), stranger = Make("stranger");
  Write(alice.line + "\n" + bob.line + "\n");
  const auto store = Open();
  const auto principal = store->Authenticate("Bearer " + bob.key);
  ASSERT_TRUE(principal.ok());
  EXPECT_EQ(principal->name, "bob");
  std::string other_secret = alice.key, other_id = alice.key;
  other_secret.back() = other_secret.back() == 'A' ? 'B' : 'A';
  other_id.replace(3, 16, bob.key, 3, 16);
  EXPECT_EQ(store->Authenticate(std::nullopt).status().code(), absl::StatusCode::kUnauthenticated);
  for (const std::string& header :
       {std::string(), alice.key, "Basic " + alice.key, "bearer " + alice.key,
        "Bearer  " + alice.key, "Bearer " + alice.key + " ", std::string("Bearer "),
        "Bearer " + stranger.key, "Bearer " + other_secret, "Bearer " + other_id}) {
    EXPECT_EQ(Ask(*store, header), absl::StatusCode::kUnauthenticated) << header;
    EXPECT_THAT(Message(store->Authenticate(header).status()), Not(HasSubstr("bd_")));
  }
}

TEST_F(KeyStoreTest, WithoutAFileEverybodyIsAnonymous) {
  const auto store = KeyStore::Open("");
  ASSERT_TRUE(store.ok());
  const auto principal = (*store)->Authenticate("Bearer whatever");
  ASSERT_TRUE(principal.ok());
  EXPECT_EQ(principal->name, "");
  EXPECT_TRUE(principal->Has(Scope::kAdmin));
}

TEST_F(KeyStoreTest, RefreshTakesGoodFilesAndKeepsTheOldKeysOtherwise) {
  const MadeKey alice = Make("alice"), bob = Make("bob");
  Write(alice.line + "\n");
  const auto store = Open();
  const auto opens = [&](const MadeKey& made) {
    store->Refresh();
    return Ask(*store, "Bearer " + made.key) == absl::StatusCode::kOk;
  };
  EXPECT_TRUE(opens(alice));
  EXPECT_FALSE(opens(bob));
  for (const std::string& wrong : {std::string(), bob.line.substr(0, 40), bob.line + "\nx\n"}) {
    Write(wrong);
    EXPECT_TRUE(opens(alice)) << wrong;
    EXPECT_FALSE(opens(bob)) << wrong;
  }
  std::remove(path_.c_str());
  EXPECT_TRUE(opens(alice));
  Write(bob.line + "\n");
  EXPECT_TRUE(opens(bob));
  EXPECT_FALSE(opens(alice));
}

TEST_F(KeyStoreTest, BadFilesAreRefusedAtTheStart) {
  std::remove(path_.c_str());
  EXPECT_EQ(KeyStore::Open(path_).status().code(), absl::StatusCode::kNotFound);
  Write("");
  EXPECT_EQ(KeyStore::Open(path_).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(KeyStore::Open(::testing::TempDir()).status().code(),
            absl::StatusCode::kInvalidArgument);
  Write(std::string(5 << 20, '\n'));
  EXPECT_THAT(Message(KeyStore::Open(path_).status()), HasSubstr("larger than"));
  std::remove(path_.c_str());
}

}  // namespace
}  // namespace bitdial::server
