// BlockPool and KvManager: what is free, used and promised always adds up.
#include "kvcache/kv_manager.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace bitdial::kvcache {
namespace {

TEST(BlockPool, HandsOutEveryBlockOnceAndThenNone) {
  BlockPool pool(3);
  std::set<int32_t> ids;
  for (int i = 0; i < 3; ++i) ids.insert(pool.TryAllocate().value());
  EXPECT_EQ(ids, (std::set<int32_t>{0, 1, 2}));
  EXPECT_EQ(pool.TryAllocate(), std::nullopt);
  EXPECT_EQ(pool.num_free(), 0);
}

TEST(BlockPool, ASharedBlockIsFreeAfterItsLastOwner) {
  BlockPool pool(1);
  const int32_t id = pool.TryAllocate().value();
  pool.AddReference(id);
  pool.Release(id);
  EXPECT_EQ(pool.num_used(), 1);
  pool.Release(id);
  EXPECT_EQ(pool.num_used(), 0);
}

TEST(BlockPoolDeathTest, FreeingTwiceIsOurBug) {
  BlockPool pool(2);
  const int32_t id = pool.TryAllocate().value();
  pool.Release(id);
  EXPECT_DEATH(pool.Release(id), "check failed");
  EXPECT_DEATH(pool.AddReference(id), "check failed");
}

TEST(KvManager, GrowsByWholeBlocksOnlyWhenATokenNeedsOne) {
  KvManager kv(4, 16);
  BlockTable table;
  ASSERT_TRUE(kv.Grow(table, 1));
  EXPECT_EQ(table.blocks.size(), 1u);
  ASSERT_TRUE(kv.Grow(table, 16));
  EXPECT_EQ(table.blocks.size(), 1u);
  ASSERT_TRUE(kv.Grow(table, 17));
  EXPECT_EQ(table.blocks.size(), 2u);
}

TEST(KvManager, AReservationKeepsOthersOut) {
  KvManager kv(4, 16);
  BlockTable first, second;
  ASSERT_TRUE(kv.TryReserve(first, 48));
  EXPECT_EQ(kv.num_used_blocks(), 0);
  EXPECT_FALSE(kv.TryReserve(second, 17));
  EXPECT_FALSE(kv.Grow(second, 17));
  EXPECT_TRUE(second.blocks.empty());
  EXPECT_TRUE(kv.Grow(second, 16));
  EXPECT_TRUE(kv.Grow(first, 48));
  EXPECT_FALSE(kv.Grow(first, 49));
  kv.Free(second);
  EXPECT_TRUE(kv.Grow(first, 49));
}

// Random reserve, grow and free of many sequences: the invariants of both classes after every call.
TEST(KvManager, RandomRunsNeverLoseOrShareABlock) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto draw = [&](int low, int high) {
      return std::uniform_int_distribution(low, high)(random);
    };
    KvManager kv(draw(1, 40), draw(1, 33));
    std::vector<BlockTable> tables(8);
    std::vector<int64_t> promised(tables.size(), 0), covered(tables.size(), 0);
    for (int i = 0; i < 200; ++i) {
      const auto t = static_cast<size_t>(draw(0, 7));
      const int64_t num_tokens = draw(1, 300);
      switch (draw(0, 3)) {
        case 0:
          if (kv.TryReserve(tables[t], num_tokens)) promised[t] = std::max(promised[t], num_tokens);
          break;
        case 1:
          if (kv.Grow(tables[t], num_tokens)) {
            covered[t] = std::max(covered[t], num_tokens);
            promised[t] = std::max(promised[t], num_tokens);
          }
          break;
        case 2:  // within what was promised it must work
          if (promised[t] > 0) {
            const int64_t within = 1 + num_tokens % promised[t];
            ASSERT_TRUE(kv.Grow(tables[t], within));
            covered[t] = std::max(covered[t], within);
          }
          break;
        default:
          kv.Free(tables[t]);
          promised[t] = covered[t] = 0;
      }
      std::set<int32_t> seen;
      int32_t reserved = 0;
      for (size_t s = 0; s < tables.size(); ++s) {
        ASSERT_GE(static_cast<int64_t>(tables[s].blocks.size()), kv.BlocksFor(covered[s]));
        ASSERT_LE(static_cast<int32_t>(tables[s].blocks.size()), tables[s].num_reserved_blocks);
        reserved += tables[s].num_reserved_blocks;
        for (int32_t id : tables[s].blocks)
          ASSERT_TRUE(seen.insert(id).second) << "block in two tables";
      }
      ASSERT_EQ(static_cast<int32_t>(seen.size()), kv.num_used_blocks());
      ASSERT_EQ(reserved, kv.num_reserved_blocks());
      ASSERT_LE(reserved, kv.num_blocks());
    }
    for (BlockTable& table : tables) kv.Free(table);
    EXPECT_EQ(kv.num_used_blocks(), 0);
    EXPECT_EQ(kv.num_reserved_blocks(), 0);
  }
}

}  // namespace
}  // namespace bitdial::kvcache
