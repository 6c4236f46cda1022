// Batch: the order of rows, their roles, and which of them need logits.
#include "engine/batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

namespace bitdial::engine {
namespace {

using ::testing::ElementsAre;

class BatchTest : public ::testing::Test {
 protected:
  // Tokens are 100 * id + index, so that a row says where it came from.
  Sequence* Make(RequestId id, int prompt_tokens, int output_tokens, int bits,
                 Request request = {}) {
    for (int i = 0; i < prompt_tokens; ++i)
      request.prompt_ids.push_back(static_cast<int32_t>(100 * id) + i);
    request.weight_bits = bits;
    sequences_.push_back(std::make_unique<Sequence>(id, request, nullptr, Clock::time_point{}));
    for (int i = 0; i < output_tokens; ++i) {
      sequences_.back()->AppendToken(static_cast<int32_t>(100 * id) + prompt_tokens + i);
    }
    return sequences_.back().get();
  }
  void Plan(Sequence* sequence, int32_t begin, int32_t num_tokens) {
    sequence->num_computed_tokens = begin;
    ASSERT_TRUE(kv_.Grow(sequence->blocks, begin + num_tokens));
    plan_.chunks.push_back({sequence, begin, num_tokens});
    plan_.num_tokens += num_tokens;
  }
  std::vector<int> Bits() const { return {batch_.bits(), batch_.bits() + batch_.num_tokens()}; }
  std::vector<int> Tokens() const {
    return {batch_.token_ids(), batch_.token_ids() + batch_.num_tokens()};
  }

  kvcache::KvManager kv_{64, 4};
  Batch batch_{64, 8, 16};
  StepPlan plan_;
  std::vector<std::unique_ptr<Sequence>> sequences_;
};

TEST_F(BatchTest, PromptsAsDecodeRowsAreAllSortedByBits) {
  batch_ = Batch(64, 8, 16, /*prompts_as_decode=*/true);
  Plan(Make(1, 3, 1, 2), 2, 2);  // the last prompt token and a decode token, 2 bits
  Plan(Make(2, 2, 0, 3), 0, 2);  // prompt, 3 bits
  Plan(Make(3, 2, 1, 4), 2, 1);  // decode, 4 bits
  batch_.Build(plan_);
  EXPECT_THAT(Tokens(), ElementsAre(302, 200, 201, 102, 103));
  EXPECT_THAT(Bits(), ElementsAre(4, 3, 3, 2, 2));
  EXPECT_EQ(batch_.rows().num_prompt_rows, 0);
}

TEST_F(BatchTest, PromptRowsComeFirstAndBitsDescendWithinARole) {
  Plan(Make(1, 3, 1, 2), 3, 1);  // decode, 2 bits
  Plan(Make(2, 2, 0, 3), 0, 2);  // prompt, 3 bits
  Plan(Make(3, 2, 1, 4), 2, 1);  // decode, 4 bits
  Plan(Make(4, 3, 0, 4), 1, 2);  // prompt, 4 bits
  batch_.Build(plan_);
  EXPECT_THAT(Tokens(), ElementsAre(401, 402, 200, 201, 302, 103));
  EXPECT_THAT(Bits(), ElementsAre(4, 4, 3, 3, 4, 2));
  EXPECT_EQ(batch_.rows().num_prompt_rows, 4);
  EXPECT_EQ(batch_.rows().num_decode_rows(), 2);
  EXPECT_THAT(std::vector<int>(batch_.positions(), batch_.positions() + 6),
              ElementsAre(1, 2, 0, 1, 2, 3));
  EXPECT_THAT(std::vector<int>(batch_.seq_idx(), batch_.seq_idx() + 6),
              ElementsAre(3, 3, 1, 1, 2, 0));
}

TEST_F(BatchTest, ARecomputedChunkIsSplitWhereThePromptEnds) {
  Plan(Make(1, 3, 2, 4), 0, 5);  // all five again: three prompt rows, two decode rows
  batch_.Build(plan_);
  EXPECT_EQ(batch_.rows().num_prompt_rows, 3);
  EXPECT_THAT(Tokens(), ElementsAre(100, 101, 102, 103, 104));
}

TEST_F(BatchTest, OneSampledRowForEveryChunkThatReachesItsEnd) {
  Plan(Make(1, 4, 0, 2), 0, 2);  // a cut prompt: nothing to sample yet
  Plan(Make(2, 2, 0, 2), 0, 2);
  Plan(Make(3, 2, 1, 4), 2, 1);
  Request scoring;
  scoring.max_tokens = 0;
  Plan(Make(4, 2, 0, 4, scoring), 0, 2);
  batch_.Build(plan_);
  ASSERT_EQ(batch_.sampled_rows().size(), 2u);
  EXPECT_EQ(batch_.sampled_rows()[0].chunk, 2);  // 4 bits before 2
  EXPECT_EQ(batch_.sampled_rows()[0].position, 2);
  EXPECT_EQ(batch_.sampled_rows()[1].chunk, 1);
  EXPECT_EQ(batch_.token_ids()[batch_.sampled_rows()[1].row], 201);
}

TEST_F(BatchTest, ScoredRowsPredictTheAskedPromptTokens) {
  Request request;
  request.prompt_logprobs_from = 2;
  Plan(Make(1, 5, 0, 4, request), 0, 5);
  batch_.Build(plan_);
  std::vector<int> positions;
  for (const LogitsRow& row : batch_.scored_rows()) positions.push_back(row.position);
  EXPECT_THAT(positions, ElementsAre(1, 2, 3));  // of prompt tokens 2, 3, 4
  ASSERT_EQ(batch_.sampled_rows().size(), 1u);
  EXPECT_EQ(batch_.sampled_rows()[0].position, 4);
}

TEST_F(BatchTest, BlockTablesFollowThePlan) {
  Plan(Make(1, 9, 0, 4), 0, 9);
  Plan(Make(2, 2, 0, 4), 0, 2);
  batch_.Build(plan_);
  for (int s = 0; s < 2; ++s) {
    const std::vector<int32_t>& blocks =
        plan_.chunks[static_cast<size_t>(s)].sequence->blocks.blocks;
    EXPECT_EQ(blocks, std::vector<int32_t>(batch_.block_tables() + 16 * s,
                                           batch_.block_tables() + 16 * s + blocks.size()));
  }
}

}  // namespace
}  // namespace bitdial::engine
