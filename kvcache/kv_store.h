// The bytes of the KV cache. Knows no sequences: a block table and a layer make the view a kernel
// reads.
#pragma once

#include <cstdint>

#include "kernels/core/buffer.h"
#include "kernels/core/status.h"
#include "kernels/kernel_table.h"

namespace bitdial::kvcache {

// What one token's K/V looks like, and how many tokens share a block.
struct KvShape {
  int64_t num_layers = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  kernels::KvFormat format = kernels::KvFormat::kF16;
  int32_t block_tokens = 0;

  int64_t BytesPerToken() const;  // K and V of every layer
  int64_t BytesPerBlock() const { return BytesPerToken() * block_tokens; }
};

// Layout  [block][layer][K, V][kv_head][slot][head_dim] in the format's element type, so that a
// block is one piece of
//         memory for every layer, and one (layer, kv_head)'s keys inside a block are contiguous.
// Owner   the engine. Thread: engine thread (and the pool's threads inside a kernel call).
class KvStore {
 public:
  // Errors  RESOURCE_EXHAUSTED saying how many bytes were asked.
  static absl::StatusOr<KvStore> Create(const KvShape& shape, int32_t num_blocks);

  // The view of one layer. block_tables [num_seqs, max_blocks_per_seq] outlives the kernel call.
  kernels::KvSegment Segment(int64_t layer, const int32_t* block_tables,
                             int32_t max_blocks_per_seq) const;

  const KvShape& shape() const { return shape_; }
  int64_t num_bytes() const { return static_cast<int64_t>(bytes_.num_bytes()); }

 private:
  KvStore(const KvShape& shape, Buffer bytes) : shape_(shape), bytes_(std::move(bytes)) {}
  KvShape shape_;
  Buffer bytes_;
};

}  // namespace bitdial::kvcache
