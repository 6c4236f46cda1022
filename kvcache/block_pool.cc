#include "kvcache/block_pool.h"

#include "kernels/core/check.h"

namespace bitdial::kvcache {

BlockPool::BlockPool(int32_t num_blocks) : references_(static_cast<size_t>(num_blocks), 0) {
  free_.reserve(references_.size());
  for (int32_t id = num_blocks - 1; id >= 0; --id) free_.push_back(id);  // block 0 goes out first
}

std::optional<int32_t> BlockPool::TryAllocate() {
  if (free_.empty()) return std::nullopt;
  const int32_t id = free_.back();
  free_.pop_back();
  references_[static_cast<size_t>(id)] = 1;
  return id;
}

void BlockPool::AddReference(int32_t block_id) {
  BITDIAL_CHECK(block_id >= 0 && block_id < num_blocks());
  int32_t& references = references_[static_cast<size_t>(block_id)];
  BITDIAL_CHECK(references > 0);
  ++references;
}

void BlockPool::Release(int32_t block_id) {
  BITDIAL_CHECK(block_id >= 0 && block_id < num_blocks());
  int32_t& references = references_[static_cast<size_t>(block_id)];
  BITDIAL_CHECK(references > 0);  // freed twice
  if (--references == 0) free_.push_back(block_id);
}

}  // namespace bitdial::kvcache
