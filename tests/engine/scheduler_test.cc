// The scheduler as a simulator: random workloads, invariants after every step.
#include "engine/scheduler/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <set>

namespace bitdial::engine {
namespace {

std::unique_ptr<Sequence> Make(RequestId id, int prompt_tokens, int max_tokens) {
  Request request;
  request.prompt_ids.assign(static_cast<size_t>(prompt_tokens), 7);
  request.max_tokens = max_tokens;
  return std::make_unique<Sequence>(id, request, nullptr, Clock::time_point{});
}

TEST(Scheduler, CutsALongPromptAtTheBudget) {
  kvcache::KvManager kv(100, 4);
  Scheduler scheduler({.max_step_tokens = 5, .max_running = 4}, kv);
  const auto sequence = Make(1, 12, 3);
  scheduler.Enqueue(sequence.get());
  StepPlan plan;
  for (const auto& [begin, count] : std::vector<std::pair<int, int>>{{0, 5}, {5, 5}, {10, 2}}) {
    scheduler.Schedule(plan);
    ASSERT_EQ(plan.chunks.size(), 1u);
    EXPECT_EQ(plan.chunks[0].begin, begin);
    EXPECT_EQ(plan.chunks[0].num_tokens, count);
    EXPECT_EQ(plan.chunks[0].NeedsSample(), begin == 10);
    scheduler.Commit(plan);
  }
}

TEST(Scheduler, RunningSequencesComeBeforeArrivals) {
  kvcache::KvManager kv(100, 4);
  Scheduler scheduler({.max_step_tokens = 4, .max_running = 4}, kv);
  const auto first = Make(1, 1, 5), second = Make(2, 10, 5);
  scheduler.Enqueue(first.get());
  StepPlan plan;
  scheduler.Schedule(plan);
  scheduler.Commit(plan);
  first->AppendToken(7);
  scheduler.Enqueue(second.get());
  scheduler.Schedule(plan);
  ASSERT_EQ(plan.chunks.size(),
            2u);  // the arrival joins at the next step, with what the budget has left
  EXPECT_EQ(plan.chunks[0].sequence, first.get());
  EXPECT_EQ(plan.chunks[0].num_tokens, 1);
  EXPECT_EQ(plan.chunks[1].num_tokens, 3);
}

TEST(Scheduler, TheHeadOfTheQueueIsNotOvertaken) {
  kvcache::KvManager kv(4, 4);
  Scheduler scheduler({.max_step_tokens = 100, .max_running = 4}, kv);
  const auto running = Make(1, 4, 5), large = Make(2, 16, 1), small = Make(3, 1, 1);
  for (Sequence* sequence : {running.get(), large.get(), small.get()}) scheduler.Enqueue(sequence);
  StepPlan plan;
  scheduler.Schedule(plan);
  EXPECT_EQ(plan.chunks.size(), 1u);  // `small` would fit, `large` is before it
  scheduler.Commit(plan);
  scheduler.Remove(running.get());
  scheduler.Schedule(plan);
  ASSERT_EQ(plan.chunks.size(), 1u);
  EXPECT_EQ(plan.chunks[0].sequence, large.get());
}

// What a random workload must never break.
class Simulation {
 public:
  explicit Simulation(uint32_t seed) : random_(seed) {}

  void Run() {
    for (int step = 0; step < 5000; ++step) {
      if (num_made_ == num_requests_ && alive_.empty()) break;
      while (num_made_ < num_requests_ && Draw(0, 2) == 0) Arrive();
      if (!alive_.empty() && Draw(0, 9) == 0) {  // a cancel, in whatever state
        End(std::next(alive_.begin(), Draw(0, static_cast<int>(alive_.size()) - 1))->second.get());
      }
      StepOnce();
      if (::testing::Test::HasFatalFailure()) return;
    }
    ASSERT_EQ(num_made_, num_requests_);
    ASSERT_TRUE(alive_.empty()) << "a request never ended";
    ASSERT_EQ(kv_.num_used_blocks(), 0);
    ASSERT_EQ(kv_.num_reserved_blocks(), 0);
  }

 private:
  int Draw(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }

  void Arrive() {
    const int kv_tokens = kv_.num_blocks() * kv_.block_tokens();
    const int prompt = Draw(1, std::min(40, kv_tokens));
    auto sequence = Make(static_cast<RequestId>(++num_made_), prompt,
                         Draw(0, std::min(20, kv_tokens - prompt + 1)));
    scheduler_.Enqueue(sequence.get());
    alive_.emplace(sequence->id, std::move(sequence));
  }

  void End(Sequence* sequence) {
    scheduler_.Remove(sequence);
    ASSERT_TRUE(sequence->blocks.blocks.empty());
    alive_.erase(sequence->id);
  }

  void StepOnce() {
    const std::vector<Sequence*> running_before = scheduler_.running();
    const std::deque<Sequence*> waiting_before = scheduler_.waiting();
    scheduler_.Schedule(plan_);
    ASSERT_LE(plan_.num_tokens, limits_.max_step_tokens);
    ASSERT_LE(static_cast<int>(scheduler_.running().size()), limits_.max_running);
    ASSERT_EQ(plan_.chunks.empty(), alive_.empty()) << "work and no plan";
    ASSERT_EQ(plan_.chunks.size(), scheduler_.running().size())
        << "a running sequence was passed over";
    for (size_t i = 0; i < running_before.size(); ++i)
      ASSERT_EQ(plan_.chunks[i].sequence, running_before[i]);
    for (size_t i = running_before.size(); i < plan_.chunks.size();
         ++i) {  // first come first served
      ASSERT_EQ(plan_.chunks[i].sequence, waiting_before[i - running_before.size()]);
    }
    std::set<int32_t> blocks;
    int32_t total = 0;
    for (const PlannedChunk& chunk : plan_.chunks) {
      ASSERT_GT(chunk.num_tokens, 0);
      ASSERT_EQ(chunk.begin, chunk.sequence->num_computed_tokens);
      ASSERT_LE(chunk.end(), chunk.sequence->num_tokens());
      ASSERT_GE(static_cast<int64_t>(chunk.sequence->blocks.blocks.size()),
                kv_.BlocksFor(chunk.end()));
      for (int32_t id : chunk.sequence->blocks.blocks) ASSERT_TRUE(blocks.insert(id).second);
      total += chunk.num_tokens;
    }
    ASSERT_EQ(total, plan_.num_tokens);
    scheduler_.Commit(plan_);
    for (const PlannedChunk& chunk : plan_.chunks) {
      Sequence& sequence = *chunk.sequence;
      if (sequence.num_computed_tokens < sequence.num_tokens()) continue;
      if (sequence.request.max_tokens > 0) sequence.AppendToken(7);
      if (sequence.num_generated_tokens() >= sequence.request.max_tokens || Draw(0, 30) == 0)
        End(&sequence);
    }
  }

  std::mt19937 random_;
  Scheduler::Limits limits_ = MakeLimits();
  kvcache::KvManager kv_{Draw(1, 30), Draw(1, 16)};
  Scheduler scheduler_{limits_, kv_};
  int num_requests_ = Draw(1, 30);
  int num_made_ = 0;
  std::map<RequestId, std::unique_ptr<Sequence>> alive_;
  StepPlan plan_;

  Scheduler::Limits MakeLimits() {
    const int budget = Draw(1, 50);
    return {.max_step_tokens = budget, .max_running = Draw(1, std::min(budget, 8))};
  }
};

TEST(Scheduler, ThousandsOfRandomWorkloads) {
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    Simulation(seed).Run();
    ASSERT_FALSE(::testing::Test::HasFatalFailure()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace bitdial::engine
