#include "kvcache/kv_manager.h"

#include <algorithm>

#include "kernels/core/check.h"

namespace bitdial::kvcache {

KvManager::KvManager(int32_t num_blocks, int32_t block_tokens)
    : pool_(num_blocks), cache_(num_blocks), block_tokens_(block_tokens) {
  BITDIAL_CHECK(num_blocks > 0 && block_tokens > 0);
}

bool KvManager::TryReserve(BlockTable& table, int64_t num_tokens) {
  const int64_t booked = static_cast<int64_t>(table.blocks.size()) + table.num_promised_blocks;
  const int64_t extra = BlocksFor(num_tokens) - booked;
  if (extra <= 0) return true;
  if (extra > num_available_blocks()) return false;
  num_promised_blocks_ += static_cast<int32_t>(extra);
  table.num_promised_blocks += static_cast<int32_t>(extra);
  // Room for the ids now, so that growing during a step allocates nothing.
  table.blocks.reserve(static_cast<size_t>(booked + extra));
  return true;
}

bool KvManager::Grow(BlockTable& table, int64_t num_tokens) {
  if (!TryReserve(table, num_tokens)) return false;
  while (static_cast<int64_t>(table.blocks.size()) < BlocksFor(num_tokens)) {
    table.blocks.push_back(Allocate());
    --table.num_promised_blocks;
    --num_promised_blocks_;
  }
  return true;
}

int32_t KvManager::Allocate() {
  if (pool_.num_free() == 0) {
    const std::optional<int32_t> evicted = cache_.Evict();
    BITDIAL_CHECK(evicted.has_value());  // promises never exceed what is free or idle
    pool_.Release(*evicted);
  }
  return pool_.TryAllocate().value();
}

void KvManager::Free(BlockTable& table) {
  // Last block first: of one beginning the end is evicted before what it builds on.
  for (auto id = table.blocks.rbegin(); id != table.blocks.rend(); ++id) {
    pool_.Release(*id);
    if (cache_.IsListed(*id) && pool_.num_references(*id) == 1) cache_.MarkIdle(*id);
  }
  num_promised_blocks_ -= table.num_promised_blocks;
  table = BlockTable{};
}

int32_t KvManager::CountPrefix(std::span<const PrefixKey> keys, int64_t max_blocks) const {
  int32_t count = 0;
  while (count < max_blocks && static_cast<size_t>(count) < keys.size() &&
         cache_.Find(keys[static_cast<size_t>(count)]).has_value()) {
    ++count;
  }
  return count;
}

bool KvManager::TakePrefix(BlockTable& table, std::span<const PrefixKey> keys, int32_t num_blocks) {
  BITDIAL_CHECK(table.blocks.empty());
  for (const PrefixKey& key : keys.first(static_cast<size_t>(num_blocks))) {
    const int32_t id = cache_.Find(key).value();
    if (pool_.num_references(id) == 1) {
      if (num_available_blocks() < 1) {
        Free(table);
        return false;
      }
      cache_.MarkUsed(id);
    }
    pool_.AddReference(id);
    table.blocks.push_back(id);
  }
  return true;
}

void KvManager::ListBlock(const BlockTable& table, int32_t index, const PrefixKey& key) {
  const int32_t id = table.blocks.at(static_cast<size_t>(index));
  if (cache_.Insert(key, id)) pool_.AddReference(id);
}

}  // namespace bitdial::kvcache
