// Which blocks hold which sequence's K/V: reserve, grow, free. Ids only; the bytes are in
// kv_store.h.
#pragma once

#include <cstdint>
#include <vector>

#include "kvcache/block_pool.h"

namespace bitdial::kvcache {

// One sequence's blocks: token n lies in blocks[n / block_tokens], slot n % block_tokens.
// Owner  the sequence; only KvManager writes it.
struct BlockTable {
  std::vector<int32_t> blocks;
  int32_t num_reserved_blocks = 0;  // booked for this sequence, blocks.size() included
};

// Thread      engine thread only.
// Invariant   the reservations of all tables never exceed the pool, so growing within one always
// succeeds;
//             without sharing, a block is in one table only.
class KvManager {
 public:
  KvManager(int32_t num_blocks, int32_t block_tokens);

  // Books room for num_tokens in all. false (nothing changed) when the pool cannot promise it now.
  [[nodiscard]] bool TryReserve(BlockTable& table, int64_t num_tokens);
  // Makes the table cover num_tokens. Never fails within the reservation; beyond it, extends the
  // reservation, or answers false (nothing changed) when there is no room.
  [[nodiscard]] bool Grow(BlockTable& table, int64_t num_tokens);
  // Gives every block and the reservation back; the table is as new.
  void Free(BlockTable& table);

  int64_t BlocksFor(int64_t num_tokens) const {
    return (num_tokens + block_tokens_ - 1) / block_tokens_;
  }
  int32_t block_tokens() const { return block_tokens_; }
  int32_t num_blocks() const { return pool_.num_blocks(); }
  int32_t num_used_blocks() const { return pool_.num_used(); }
  int32_t num_reserved_blocks() const { return num_reserved_blocks_; }

 private:
  BlockPool pool_;
  int32_t block_tokens_;
  int32_t num_reserved_blocks_ = 0;
};

}  // namespace bitdial::kvcache
