// Ids and reference counts of KV blocks. Knows no bytes (kv_store.h) and no sequences
// (kv_manager.h).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace bitdial::kvcache {

// Thread      engine thread only.
// Invariant   num_free() + num_used() == num_blocks(); a free block has no references.
class BlockPool {
 public:
  explicit BlockPool(int32_t num_blocks);

  // A block with one reference, the one freed last first (its bytes may still be in a cache).
  // nullopt when none is free.
  std::optional<int32_t> TryAllocate();
  // A second owner of an allocated block: what a fork of a sequence or a shared prefix takes.
  void AddReference(int32_t block_id);
  // Gives one reference back; the block is free when none is left.
  void Release(int32_t block_id);

  int32_t num_references(int32_t block_id) const {
    return references_[static_cast<size_t>(block_id)];
  }
  int32_t num_blocks() const { return static_cast<int32_t>(references_.size()); }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t num_used() const { return num_blocks() - num_free(); }

 private:
  std::vector<int32_t> references_;  // [num_blocks]
  std::vector<int32_t> free_;        // stack of ids
};

}  // namespace bitdial::kvcache
