// Which blocks hold the K/V of which beginning of a prompt, so that a later prompt that begins
// alike need not compute it. Ids only; the references are the KvManager's.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace bitdial::kvcache {

// Names the content of a block: every token up to its end, the bits they were computed at and who
// may share them. 128 bits of a keyed hash: without the process's secret nobody can make two
// beginnings collide, nor guess a key.
struct PrefixKey {
  uint64_t low = 0, high = 0;
  bool operator==(const PrefixKey&) const = default;
};

// Makes keys. The secret is drawn once a process, so that keys mean nothing outside of it.
class PrefixHasher {
 public:
  PrefixHasher();                                                             // a random secret
  explicit PrefixHasher(std::array<uint64_t, 2> secret) : secret_(secret) {}  // for tests

  // Keys of the full blocks of `tokens`, first to last: a chain, each key covers all before it.
  // `scope` keeps prompts apart that must not share: the caller, or the request itself.
  std::vector<PrefixKey> KeysOf(std::span<const int32_t> tokens, int32_t block_tokens, int bits,
                                const std::string& scope) const;

 private:
  std::array<uint64_t, 2> secret_;
};

// Thread      engine thread only.
// Invariant   a key names one block and a block has at most one key; the idle list holds exactly
// the listed blocks
//             that were marked idle, the one to evict first in front.
class PrefixCache {
 public:
  explicit PrefixCache(int32_t num_blocks) : entries_(static_cast<size_t>(num_blocks)) {}

  // nullopt: no block is listed under this key.
  std::optional<int32_t> Find(const PrefixKey& key) const;
  // Lists a block that a sequence uses; false when the key is taken or the block listed already.
  bool Insert(const PrefixKey& key, int32_t block_id);
  bool IsListed(int32_t block_id) const {
    return entries_[static_cast<size_t>(block_id)].has_value();
  }

  // No sequence uses the listed block any more: it may be evicted, after those that became idle
  // before.
  void MarkIdle(int32_t block_id);
  // A sequence uses it again.
  void MarkUsed(int32_t block_id);
  // Forgets the block that has been idle longest and returns it; nullopt when none is idle.
  std::optional<int32_t> Evict();

  int32_t num_idle() const { return static_cast<int32_t>(idle_.size()); }

 private:
  struct KeyHash {
    size_t operator()(const PrefixKey& key) const { return static_cast<size_t>(key.low); }
  };
  struct Entry {
    PrefixKey key;
    std::optional<std::list<int32_t>::iterator> idle;
  };
  std::vector<std::optional<Entry>> entries_;  // [num_blocks]
  std::unordered_map<PrefixKey, int32_t, KeyHash> blocks_;
  std::list<int32_t> idle_;
};

}  // namespace bitdial::kvcache
