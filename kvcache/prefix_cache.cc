#include "kvcache/prefix_cache.h"

#include <cstring>
#include <random>

#include "kernels/core/check.h"
#include "kvcache/siphash.h"

namespace bitdial::kvcache {
namespace {

std::array<uint64_t, 2> RandomSecret() {
  std::random_device device;
  const auto word = [&] { return (uint64_t{device()} << 32) | device(); };
  return {word(), word()};
}

}  // namespace

PrefixHasher::PrefixHasher() : secret_(RandomSecret()) {}

std::vector<PrefixKey> PrefixHasher::KeysOf(std::span<const int32_t> tokens, int32_t block_tokens,
                                            int bits, const std::string& scope) const {
  BITDIAL_CHECK(block_tokens > 0);
  const std::string root = std::to_string(bits) + ":" + scope;
  std::array<uint64_t, 2> chain = SipHash(secret_)(root.data(), root.size());
  const size_t block_bytes = static_cast<size_t>(block_tokens) * sizeof(int32_t);
  std::vector<unsigned char> input(sizeof(chain) + block_bytes);
  std::vector<PrefixKey> keys;
  keys.reserve(tokens.size() / static_cast<size_t>(block_tokens));
  for (; tokens.size() >= static_cast<size_t>(block_tokens);
       tokens = tokens.subspan(static_cast<size_t>(block_tokens))) {
    std::memcpy(input.data(), chain.data(), sizeof(chain));
    std::memcpy(input.data() + sizeof(chain), tokens.data(), block_bytes);
    chain = SipHash(secret_)(input.data(), input.size());
    keys.push_back({chain[0], chain[1]});
  }
  return keys;
}

std::optional<int32_t> PrefixCache::Find(const PrefixKey& key) const {
  const auto found = blocks_.find(key);
  return found == blocks_.end() ? std::nullopt : std::optional(found->second);
}

bool PrefixCache::Insert(const PrefixKey& key, int32_t block_id) {
  if (IsListed(block_id) || !blocks_.emplace(key, block_id).second) return false;
  entries_[static_cast<size_t>(block_id)] = Entry{key, std::nullopt};
  return true;
}

void PrefixCache::MarkIdle(int32_t block_id) {
  BITDIAL_CHECK(IsListed(block_id));
  Entry& entry = *entries_[static_cast<size_t>(block_id)];
  BITDIAL_CHECK(!entry.idle.has_value());
  entry.idle = idle_.insert(idle_.end(), block_id);
}

void PrefixCache::MarkUsed(int32_t block_id) {
  BITDIAL_CHECK(IsListed(block_id));
  Entry& entry = *entries_[static_cast<size_t>(block_id)];
  BITDIAL_CHECK(entry.idle.has_value());
  idle_.erase(*entry.idle);
  entry.idle.reset();
}

std::optional<int32_t> PrefixCache::Evict() {
  if (idle_.empty()) return std::nullopt;
  const int32_t block_id = idle_.front();
  idle_.pop_front();
  blocks_.erase(entries_[static_cast<size_t>(block_id)]->key);
  entries_[static_cast<size_t>(block_id)].reset();
  return block_id;
}

}  // namespace bitdial::kvcache
