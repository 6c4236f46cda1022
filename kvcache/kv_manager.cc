#include "kvcache/kv_manager.h"

#include "kernels/core/check.h"

namespace bitdial::kvcache {

KvManager::KvManager(int32_t num_blocks, int32_t block_tokens)
    : pool_(num_blocks), block_tokens_(block_tokens) {
  BITDIAL_CHECK(num_blocks > 0 && block_tokens > 0);
}

bool KvManager::TryReserve(BlockTable& table, int64_t num_tokens) {
  const int64_t extra = BlocksFor(num_tokens) - table.num_reserved_blocks;
  if (extra <= 0) return true;
  if (num_reserved_blocks_ + extra > num_blocks()) return false;
  num_reserved_blocks_ += static_cast<int32_t>(extra);
  table.num_reserved_blocks += static_cast<int32_t>(extra);
  // Room for the ids now, so that growing during a step allocates nothing.
  table.blocks.reserve(static_cast<size_t>(table.num_reserved_blocks));
  return true;
}

bool KvManager::Grow(BlockTable& table, int64_t num_tokens) {
  if (!TryReserve(table, num_tokens)) return false;
  while (static_cast<int64_t>(table.blocks.size()) < BlocksFor(num_tokens)) {
    const std::optional<int32_t> block_id = pool_.TryAllocate();
    BITDIAL_CHECK(block_id.has_value());  // reservations never exceed the pool
    table.blocks.push_back(*block_id);
  }
  return true;
}

void KvManager::Free(BlockTable& table) {
  for (int32_t block_id : table.blocks) pool_.Release(block_id);
  num_reserved_blocks_ -= table.num_reserved_blocks;
  table = BlockTable{};
}

}  // namespace bitdial::kvcache
