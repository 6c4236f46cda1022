// Which blocks hold which sequence's K/V: reserve, grow, share, free. Ids only; the bytes are in
// kv_store.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kvcache/block_pool.h"
#include "kvcache/prefix_cache.h"

namespace bitdial::kvcache {

// One sequence's blocks: token n lies in blocks[n / block_tokens], slot n % block_tokens.
// Owner  the sequence; only KvManager writes it.
struct BlockTable {
  std::vector<int32_t> blocks;
  int32_t num_promised_blocks = 0;  // that it may still grow by without asking
};

// A block is free, used by sequences (one reference each), or cached: used by none and kept in the
// prefix cache (which holds a reference of its own on every block it lists) until room is needed.
//
// Thread      engine thread only.
// Invariant   num_used + num_cached + free == num_blocks; num_used + num_promised <= num_blocks, so
// growing within a
//             promise always succeeds; a block is in several tables only when all of it was written
//             before it was shared.
class KvManager {
 public:
  KvManager(int32_t num_blocks, int32_t block_tokens);

  // Books room for num_tokens in all. false (nothing changed) when the pool cannot promise it now.
  [[nodiscard]] bool TryReserve(BlockTable& table, int64_t num_tokens);
  // Makes the table cover num_tokens. Never fails within the reservation; beyond it, answers false
  // (nothing changed) when there is no room.
  [[nodiscard]] bool Grow(BlockTable& table, int64_t num_tokens);
  // Gives every block and the reservation back; the table is as new. Listed blocks stay cached.
  void Free(BlockTable& table);

  // Keys of the whole blocks of a prompt (PrefixHasher::KeysOf).
  std::vector<PrefixKey> PrefixKeys(std::span<const int32_t> tokens, int bits,
                                    const std::string& scope) const {
    return hasher_.KeysOf(tokens, block_tokens_, bits, scope);
  }
  // How many blocks from the first on are cached or in use under these keys, at most max_blocks.
  int32_t CountPrefix(std::span<const PrefixKey> keys, int64_t max_blocks) const;
  // Makes an empty table begin with the first num_blocks blocks of these keys, which CountPrefix
  // found. false (nothing changed) when promises to others leave no room for those that are not in
  // use now.
  [[nodiscard]] bool TakePrefix(BlockTable& table, std::span<const PrefixKey> keys,
                                int32_t num_blocks);
  // Block `index` of the table is written whole: lists it for prompts to come, unless an equal one
  // is listed.
  void ListBlock(const BlockTable& table, int32_t index, const PrefixKey& key);

  int64_t BlocksFor(int64_t num_tokens) const {
    return (num_tokens + block_tokens_ - 1) / block_tokens_;
  }
  int32_t block_tokens() const { return block_tokens_; }
  int32_t num_blocks() const { return pool_.num_blocks(); }
  int32_t num_used_blocks() const { return pool_.num_used() - cache_.num_idle(); }
  int32_t num_cached_blocks() const { return cache_.num_idle(); }
  int32_t num_promised_blocks() const { return num_promised_blocks_; }
  // What could be promised or taken now.
  int32_t num_available_blocks() const {
    return num_blocks() - num_used_blocks() - num_promised_blocks_;
  }

 private:
  int32_t Allocate();  // a free block, or the cached one that has been idle longest

  BlockPool pool_;
  PrefixHasher hasher_;
  PrefixCache cache_;
  int32_t block_tokens_;
  int32_t num_promised_blocks_ = 0;
};

}  // namespace bitdial::kvcache
