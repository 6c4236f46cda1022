// KvStore: every (block, layer, K or V, head, slot) has bytes of its own, and they tile the buffer.
#include "kvcache/kv_store.h"

#include <gtest/gtest.h>

#include <set>

namespace bitdial::kvcache {
namespace {

TEST(KvShape, CountsKeysAndValuesOfEveryLayer) {
  const KvShape shape{.num_layers = 30,
                      .num_kv_heads = 3,
                      .head_dim = 64,
                      .format = kernels::KvFormat::kF16,
                      .block_tokens = 32};
  EXPECT_EQ(shape.BytesPerToken(), 30 * 2 * 3 * 64 * 2);
  EXPECT_EQ(shape.BytesPerBlock(), 32 * shape.BytesPerToken());
}

TEST(KvStore, SegmentsTileTheBuffer) {
  for (const auto format : {kernels::KvFormat::kF16, kernels::KvFormat::kF32}) {
    const KvShape shape{
        .num_layers = 3, .num_kv_heads = 2, .head_dim = 4, .format = format, .block_tokens = 5};
    const int32_t num_blocks = 7;
    const KvStore store = KvStore::Create(shape, num_blocks).value();
    const int64_t layer_bytes = shape.BytesPerBlock() / shape.num_layers;
    EXPECT_EQ(store.num_bytes(), num_blocks * shape.BytesPerBlock());
    std::set<const std::byte*> pieces;
    for (int64_t layer = 0; layer < shape.num_layers; ++layer) {
      const kernels::KvSegment segment = store.Segment(layer, nullptr, 1);
      EXPECT_EQ(segment.block_tokens, 5);
      EXPECT_EQ(segment.num_kv_heads, 2);
      EXPECT_EQ(segment.head_dim, 4);
      for (int32_t block = 0; block < num_blocks; ++block) {
        pieces.insert(segment.blocks + block * segment.block_stride_bytes);
      }
    }
    ASSERT_EQ(pieces.size(), static_cast<size_t>(num_blocks * shape.num_layers));
    EXPECT_EQ(*pieces.rbegin() - *pieces.begin(), store.num_bytes() - layer_bytes);
    for (auto next = pieces.begin(), piece = next++; next != pieces.end(); piece = next++) {
      EXPECT_EQ(*next - *piece, layer_bytes);
    }
  }
}

}  // namespace
}  // namespace bitdial::kvcache
