// BlockPool and KvManager: what is free, used and promised always adds up.
#include "kvcache/kv_manager.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
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

std::vector<int32_t> Tokens(int count, int first = 0) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

TEST(KvManager, AFreedPromptIsFoundAgain) {
  KvManager kv(8, 4);
  const auto keys = kv.PrefixKeys(Tokens(10), 4, "");
  ASSERT_EQ(keys.size(), 2u);  // the third block is not whole
  EXPECT_EQ(kv.CountPrefix(keys, 2), 0);
  BlockTable first, second;
  ASSERT_TRUE(kv.Grow(first, 10));
  const std::vector<int32_t> blocks = first.blocks;
  kv.ListBlock(first, 0, keys[0]);
  kv.ListBlock(first, 1, keys[1]);
  EXPECT_EQ(kv.CountPrefix(keys, 2), 2);
  EXPECT_EQ(kv.CountPrefix(keys, 1), 1);
  kv.Free(first);
  EXPECT_EQ(kv.num_used_blocks(), 0);
  EXPECT_EQ(kv.num_cached_blocks(), 2);
  EXPECT_EQ(kv.num_available_blocks(), 8);
  ASSERT_TRUE(kv.TakePrefix(second, keys, 2));
  EXPECT_EQ(second.blocks, std::vector<int32_t>(blocks.begin(), blocks.begin() + 2));
  EXPECT_EQ(kv.num_used_blocks(), 2);
  EXPECT_EQ(kv.num_cached_blocks(), 0);
}

TEST(KvManager, OtherBitsScopesAndTokensFindNothing) {
  KvManager kv(8, 4);
  BlockTable table;
  ASSERT_TRUE(kv.Grow(table, 8));
  const auto keys = kv.PrefixKeys(Tokens(8), 4, "alice");
  for (int i = 0; i < 2; ++i) kv.ListBlock(table, i, keys[static_cast<size_t>(i)]);
  EXPECT_EQ(kv.CountPrefix(kv.PrefixKeys(Tokens(8), 4, "alice"), 9), 2);
  EXPECT_EQ(kv.CountPrefix(kv.PrefixKeys(Tokens(8), 3, "alice"), 9), 0);
  EXPECT_EQ(kv.CountPrefix(kv.PrefixKeys(Tokens(8), 4, "bob"), 9), 0);
  EXPECT_EQ(kv.CountPrefix(kv.PrefixKeys(Tokens(8), 4, ""), 9), 0);
  EXPECT_EQ(kv.CountPrefix(kv.PrefixKeys(Tokens(8, 1), 4, "alice"), 9), 0);
  std::vector<int32_t> other_end = Tokens(8);
  other_end.back() = 99;
  EXPECT_EQ(kv.CountPrefix(kv.PrefixKeys(other_end, 4, "alice"), 9), 1);
}

TEST(KvManager, CachedBlocksGiveWayTheLongestIdleFirstAndEndsBeforeBeginnings) {
  KvManager kv(4, 4);
  BlockTable old, recent;
  const auto old_keys = kv.PrefixKeys(Tokens(8), 4, "old"),
             recent_keys = kv.PrefixKeys(Tokens(8), 4, "recent");
  ASSERT_TRUE(kv.Grow(old, 8) && kv.Grow(recent, 8));
  for (int i = 0; i < 2; ++i) {
    kv.ListBlock(old, i, old_keys[static_cast<size_t>(i)]);
    kv.ListBlock(recent, i, recent_keys[static_cast<size_t>(i)]);
  }
  kv.Free(old);
  kv.Free(recent);
  BlockTable table;
  const auto expect = [&](int64_t num_tokens, int num_old, int num_recent) {
    ASSERT_TRUE(kv.Grow(table, num_tokens));
    EXPECT_EQ(kv.CountPrefix(old_keys, 2), num_old);
    EXPECT_EQ(kv.CountPrefix(recent_keys, 2), num_recent);
  };
  expect(4, 1, 2);
  expect(8, 0, 2);
  expect(12, 0, 1);
  expect(16, 0, 0);
}

// CVE-2025-25183 class: a key cannot be guessed, since two processes make different ones of the
// same tokens.
TEST(PrefixHasher, KeysMeanNothingInAnotherProcess) {
  EXPECT_FALSE(PrefixHasher().KeysOf(Tokens(4), 4, 4, "") ==
               PrefixHasher().KeysOf(Tokens(4), 4, 4, ""));
  EXPECT_TRUE(PrefixHasher({1, 2}).KeysOf(Tokens(4), 4, 4, "") ==
              PrefixHasher({1, 2}).KeysOf(Tokens(4), 4, 4, ""));
}

// Random reserve, grow, list, share and free of many sequences: the invariants after every call,
// against a model that remembers what was written into which block.
TEST(KvManager, RandomRunsNeverLoseABlockNorShareAWrongOne) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto draw = [&](int low, int high) {
      return std::uniform_int_distribution(low, high)(random);
    };
    const int block_tokens = draw(1, 9);
    KvManager kv(draw(1, 40), block_tokens);
    std::vector<BlockTable> tables(8);
    std::vector<int64_t> promised(tables.size(), 0), covered(tables.size(), 0);
    std::vector<int> prompt_of(tables.size(), -1);
    std::map<int32_t, std::pair<int, int>> content;  // block -> (prompt, index) as last written
    const int num_prompt_blocks = draw(1, 6);
    const auto keys_of = [&](int prompt) {
      return kv.PrefixKeys(Tokens(num_prompt_blocks * block_tokens, 1000 * prompt), 4, "");
    };
    for (int i = 0; i < 200; ++i) {
      const auto t = static_cast<size_t>(draw(0, 7));
      const int64_t num_tokens = draw(1, 60);
      switch (draw(0, 4)) {
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
        case 3: {  // begin a prompt: take what there is, write the rest, list it
          kv.Free(tables[t]);
          const int prompt = draw(0, 3);
          const auto keys = keys_of(prompt);
          const int32_t found = kv.CountPrefix(keys, draw(0, num_prompt_blocks));
          promised[t] = covered[t] = 0;
          if (!kv.TakePrefix(tables[t], keys, found)) break;
          for (int32_t b = 0; b < found; ++b) {
            ASSERT_EQ(content.at(tables[t].blocks[static_cast<size_t>(b)]), std::pair(prompt, b));
          }
          promised[t] = covered[t] = int64_t{found} * block_tokens;
          if (!kv.Grow(tables[t], int64_t{num_prompt_blocks} * block_tokens)) break;
          promised[t] = covered[t] = int64_t{num_prompt_blocks} * block_tokens;
          for (int32_t b = found; b < num_prompt_blocks; ++b) {
            content[tables[t].blocks[static_cast<size_t>(b)]] = {prompt, b};
            kv.ListBlock(tables[t], b, keys[static_cast<size_t>(b)]);
          }
          break;
        }
        default:
          kv.Free(tables[t]);
          promised[t] = covered[t] = 0;
      }
      std::set<int32_t> used;
      int32_t still_promised = 0;
      for (size_t s = 0; s < tables.size(); ++s) {
        ASSERT_GE(static_cast<int64_t>(tables[s].blocks.size()), kv.BlocksFor(covered[s]));
        still_promised += tables[s].num_promised_blocks;
        for (int32_t id : tables[s].blocks) used.insert(id);
      }
      ASSERT_EQ(static_cast<int32_t>(used.size()), kv.num_used_blocks());
      ASSERT_EQ(still_promised, kv.num_promised_blocks());
      ASSERT_LE(kv.num_used_blocks() + kv.num_promised_blocks(), kv.num_blocks());
      ASSERT_LE(kv.num_used_blocks() + kv.num_cached_blocks(), kv.num_blocks());
    }
    for (BlockTable& table : tables) kv.Free(table);
    EXPECT_EQ(kv.num_used_blocks(), 0);
    EXPECT_EQ(kv.num_promised_blocks(), 0);
    EXPECT_EQ(kv.num_available_blocks(), kv.num_blocks());
  }
}

}  // namespace
}  // namespace bitdial::kvcache
