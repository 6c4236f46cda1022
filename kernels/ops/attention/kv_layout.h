// Where a token's K and V lie in a KvSegment: what every KV format and backend shares.
#pragma once

#include "kernels/ops/attention/attention.h"

namespace bitdial::kernels {

// Element of head `head` of one token: the token is slot `slot` of the block at `block`.
struct KvSlot {
  std::byte* block;  // this layer's K in the block; V follows
  int64_t slot;
};

inline KvSlot FindSlot(const KvSegment& segment, int32_t seq, int64_t token) {
  const int64_t index = token / segment.block_tokens;
  const int32_t block = segment.block_tables[int64_t{seq} * segment.max_blocks_per_seq + index];
  return {segment.blocks + block * segment.block_stride_bytes, token % segment.block_tokens};
}

// The head's row [head_dim] of K. Rows of following slots in the same block lie head_dim elements
// further on.
template <typename Element>
Element* KRow(const KvSegment& segment, const KvSlot& slot, int64_t head) {
  return reinterpret_cast<Element*>(slot.block) +
         (head * segment.block_tokens + slot.slot) * segment.head_dim;
}

// The head's row [head_dim] of V.
template <typename Element>
Element* VRow(const KvSegment& segment, const KvSlot& slot, int64_t head) {
  return KRow<Element>(segment, slot, segment.num_kv_heads + head);
}

}  // namespace bitdial::kernels
