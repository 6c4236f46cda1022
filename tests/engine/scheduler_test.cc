// The scheduler as a simulator: random workloads, invariants after every step.
#include "engine/scheduler/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <set>

namespace bitdial::engine {
namespace {

const std::vector<int> kBits = {2, 3, 4};
constexpr Clock::time_point kNow{};

std::unique_ptr<Sequence> Make(RequestId id, int prompt_tokens, int max_tokens) {
  Request request;
  request.prompt_ids.assign(static_cast<size_t>(prompt_tokens), 7);
  request.max_tokens = max_tokens;
  request.weight_bits = 4;
  request.uses_prefix_cache = false;
  return std::make_unique<Sequence>(id, request, nullptr, Clock::time_point{});
}

TEST(Scheduler, CutsALongPromptAtTheBudget) {
  kvcache::KvManager kv(100, 4);
  Scheduler scheduler({.max_step_tokens = 5, .max_running = 4}, kv, kBits);
  const auto sequence = Make(1, 12, 3);
  scheduler.Enqueue(sequence.get());
  StepPlan plan;
  for (const auto& [begin, count] : std::vector<std::pair<int, int>>{{0, 5}, {5, 5}, {10, 2}}) {
    scheduler.Schedule(kNow, plan);
    ASSERT_EQ(plan.chunks.size(), 1u);
    EXPECT_EQ(plan.chunks[0].begin, begin);
    EXPECT_EQ(plan.chunks[0].num_tokens, count);
    EXPECT_EQ(plan.chunks[0].NeedsSample(), begin == 10);
    scheduler.Commit(plan, {});
  }
}

TEST(Scheduler, RunningSequencesComeBeforeArrivals) {
  kvcache::KvManager kv(100, 4);
  Scheduler scheduler({.max_step_tokens = 4, .max_running = 4}, kv, kBits);
  const auto first = Make(1, 1, 5), second = Make(2, 10, 5);
  scheduler.Enqueue(first.get());
  StepPlan plan;
  scheduler.Schedule(kNow, plan);
  scheduler.Commit(plan, {});
  first->AppendToken(7);
  scheduler.Enqueue(second.get());
  scheduler.Schedule(kNow, plan);
  ASSERT_EQ(plan.chunks.size(),
            2u);  // the arrival joins at the next step, with what the budget has left
  EXPECT_EQ(plan.chunks[0].sequence, first.get());
  EXPECT_EQ(plan.chunks[0].num_tokens, 1);
  EXPECT_EQ(plan.chunks[1].num_tokens, 3);
}

TEST(Scheduler, TheHeadOfTheQueueIsNotOvertaken) {
  kvcache::KvManager kv(4, 4);
  Scheduler scheduler({.max_step_tokens = 100, .max_running = 4}, kv, kBits);
  const auto running = Make(1, 4, 5), large = Make(2, 16, 1), small = Make(3, 1, 1);
  for (Sequence* sequence : {running.get(), large.get(), small.get()}) scheduler.Enqueue(sequence);
  StepPlan plan;
  scheduler.Schedule(kNow, plan);
  EXPECT_EQ(plan.chunks.size(), 1u);  // `small` would fit, `large` is before it
  scheduler.Commit(plan, {});
  scheduler.Remove(running.get());
  scheduler.Schedule(kNow, plan);
  ASSERT_EQ(plan.chunks.size(), 1u);
  EXPECT_EQ(plan.chunks[0].sequence, large.get());
}

TEST(Scheduler, PromptsAreCutAtAbsoluteMultiples) {
  kvcache::KvManager kv(100, 4);
  Scheduler scheduler({.max_step_tokens = 13, .max_running = 4, .prompt_chunk = 4}, kv, kBits);
  const auto first = Make(1, 9, 5), second = Make(2, 11, 5);
  for (Sequence* sequence : {first.get(), second.get()}) scheduler.Enqueue(sequence);
  StepPlan plan;
  scheduler.Schedule(kNow, plan);
  ASSERT_EQ(plan.chunks.size(), 2u);
  EXPECT_EQ(plan.chunks[0].num_tokens, 9);  // all of it
  EXPECT_EQ(plan.chunks[1].num_tokens, 4);
  scheduler.Commit(plan, {});
  first->AppendToken(7);
  scheduler.Schedule(kNow, plan);
  ASSERT_EQ(plan.chunks.size(), 2u);
  EXPECT_EQ(plan.chunks[0].num_tokens, 1);
  EXPECT_EQ(plan.chunks[1].num_tokens, 7);
}

TEST(Scheduler, PriorityIsAHeadStart) {
  kvcache::KvManager kv(100, 4);
  Scheduler scheduler({.max_step_tokens = 4, .max_running = 1}, kv, kBits);
  const auto first = Make(1, 1, 5), second = Make(2, 1, 5), third = Make(3, 1, 5);
  second->virtual_arrival = kNow + std::chrono::seconds(2);
  third->virtual_arrival = kNow + std::chrono::seconds(1);  // came later, with more priority
  for (Sequence* sequence : {first.get(), second.get(), third.get()}) scheduler.Enqueue(sequence);
  StepPlan plan;
  for (Sequence* expected : {first.get(), third.get(), second.get()}) {
    scheduler.Schedule(kNow, plan);
    ASSERT_EQ(plan.chunks.size(), 1u);
    EXPECT_EQ(plan.chunks[0].sequence, expected);
    scheduler.Remove(expected);
  }
}

TEST(Scheduler, ALongPromptDoesNotHoldUpThoseThatDecode) {
  kvcache::KvManager kv(1000, 4);
  Scheduler scheduler({.max_step_tokens = 8, .max_running = 4}, kv, kBits);
  const auto prompt = Make(1, 500, 1), decoding = Make(2, 1, 100);
  StepPlan plan;
  scheduler.Enqueue(decoding.get());
  scheduler.Schedule(kNow, plan);
  scheduler.Commit(plan, {});
  decoding->AppendToken(7);
  prompt->virtual_arrival = kNow - std::chrono::seconds(9);  // before the other in the order
  scheduler.Enqueue(prompt.get());
  for (int step = 0; step < 20; ++step) {
    scheduler.Schedule(kNow, plan);
    ASSERT_EQ(plan.chunks.size(), 2u);
    for (const PlannedChunk& chunk : plan.chunks) {
      EXPECT_EQ(chunk.num_tokens, chunk.sequence == prompt.get() ? 7 : 1);
    }
    scheduler.Commit(plan, {});
    decoding->AppendToken(7);
  }
}

TEST(Scheduler, OptimisticAdmissionPreemptsTheLastAndBringsItBack) {
  kvcache::KvManager kv(4, 4);
  Scheduler scheduler(
      {.max_step_tokens = 16, .max_running = 4, .kv_admission = KvAdmission::kOptimistic}, kv,
      kBits);
  const auto first = Make(1, 4, 9), second = Make(2, 3, 9);
  for (Sequence* sequence : {first.get(), second.get()}) scheduler.Enqueue(sequence);
  StepPlan plan;
  int num_steps_of_second = 0;
  for (int step = 0; step < 9; ++step) {
    scheduler.Schedule(kNow, plan);
    ASSERT_FALSE(plan.chunks.empty());
    EXPECT_EQ(plan.chunks[0].sequence, first.get()) << "the first always advances";
    num_steps_of_second += plan.chunks.size() == 2 ? 1 : 0;
    scheduler.Commit(plan, {});
    for (const PlannedChunk& chunk : plan.chunks) {
      if (chunk.NeedsSample()) chunk.sequence->AppendToken(7);
    }
  }
  EXPECT_EQ(second->num_preemptions, 1);
  EXPECT_EQ(second->num_generated_tokens(), num_steps_of_second);
  scheduler.Remove(first.get());
  scheduler.Schedule(kNow, plan);
  ASSERT_EQ(plan.chunks.size(), 1u);
  EXPECT_EQ(plan.chunks[0].begin, 0);
  EXPECT_EQ(plan.chunks[0].end(), second->num_tokens());  // prompt and output recomputed together
}

TEST(Scheduler, AnEqualBeginningIsTakenFromTheCache) {
  kvcache::KvManager kv(20, 4);
  Scheduler scheduler({.max_step_tokens = 64, .max_running = 4, .prompt_chunk = 8}, kv, kBits);
  const auto add = [&](RequestId id, int prompt, const std::string& scope) {
    auto sequence = Make(id, prompt, 2);
    sequence->request.uses_prefix_cache = true;
    sequence->request.cache_scope = scope;
    scheduler.Enqueue(sequence.get());
    return sequence;
  };
  StepPlan plan;
  const auto first = add(1, 16, "alice");
  scheduler.Schedule(kNow, plan);
  scheduler.Commit(plan, {});
  const auto second = add(2, 16, "alice"), third = add(3, 16, "bob");
  scheduler.Schedule(kNow, plan);
  ASSERT_EQ(plan.chunks.size(), 2u);  // the first waits for its token
  EXPECT_EQ(second->num_cached_tokens,
            8);  // the last token's row is wanted, and 12 is no multiple of 8
  EXPECT_EQ(plan.chunks[0].begin, 8);
  EXPECT_EQ(third->num_cached_tokens, 0);
  EXPECT_EQ(scheduler.counters().num_prefix_tokens_asked, 48);
  EXPECT_EQ(scheduler.counters().num_prefix_tokens_hit, 8);
}

// What a random workload must never break.
class Simulation {
 public:
  explicit Simulation(uint32_t seed) : random_(seed) {}

  void Run() {
    for (int step = 0; step < 20000; ++step) {
      if (num_made_ == num_requests_ && alive_.empty()) break;
      now_ += std::chrono::milliseconds(Draw(0, 500));
      while (num_made_ < num_requests_ && Draw(0, 2) == 0) Arrive();
      if (!alive_.empty() && Draw(0, 9) == 0) {  // a cancel, in whatever state
        End(std::next(alive_.begin(), Draw(0, static_cast<int>(alive_.size()) - 1))->first);
      }
      Expire();
      StepOnce();
      if (::testing::Test::HasFatalFailure()) return;
    }
    ASSERT_EQ(num_made_, num_requests_);
    ASSERT_TRUE(alive_.empty()) << "a request never ended";
    ASSERT_EQ(num_ended_, num_begun_) << "a choice ended twice or never";
    ASSERT_EQ(kv_.num_used_blocks(), 0);
    ASSERT_EQ(kv_.num_promised_blocks(), 0);
    ASSERT_EQ(kv_.num_available_blocks(), kv_.num_blocks());
  }

 private:
  int Draw(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }

  void Arrive() {
    const int kv_tokens = kv_.num_blocks() * kv_.block_tokens();
    const int prompt = Draw(1, std::min(40, kv_tokens));
    auto sequence = Make(static_cast<RequestId>(++num_made_), prompt,
                         Draw(0, std::min(20, kv_tokens - prompt + 1)));
    Request& request = sequence->request;
    std::iota(request.prompt_ids.begin(), request.prompt_ids.end(),
              100 * Draw(0, 2));  // few beginnings: many hits
    if (Draw(0, 2) == 0) request.prompt_ids[static_cast<size_t>(Draw(0, prompt - 1))] = 7;
    sequence->tokens = request.prompt_ids;
    request.uses_prefix_cache = Draw(0, 3) > 0;
    request.cache_scope = Draw(0, 3) == 0 ? "bob" : "alice";
    request.num_choices = Draw(0, 3) == 0 ? Draw(2, 4) : 1;
    request.priority = Draw(-2, 2);
    if (Draw(0, 3) == 0) request.prompt_logprobs_from = Draw(1, 10);
    if (Draw(0, 2) == 0) request.deadline = now_ + std::chrono::milliseconds(Draw(0, 20'000));
    if (Draw(0, 2) == 0) request.auto_bits = AutoBits{.min_bits = Draw(2, 4)};
    sequence->prompt_bits = request.auto_bits.has_value() ? 0 : request.weight_bits;
    sequence->submitted_at = now_;
    sequence->virtual_arrival = now_ - request.priority * std::chrono::seconds(3);
    Begin(std::move(sequence));
  }

  void Begin(std::unique_ptr<Sequence> sequence) {
    ++num_begun_;
    scheduler_.Enqueue(sequence.get());
    alive_.emplace(sequence.get(), std::move(sequence));
  }

  void BeginOtherChoices(const Sequence& first) {
    for (int choice = 1; choice < first.request.num_choices; ++choice) {
      auto sequence =
          std::make_unique<Sequence>(first.id, first.request, nullptr, first.submitted_at);
      sequence->choice = choice;
      sequence->virtual_arrival = first.virtual_arrival;
      Begin(std::move(sequence));
    }
  }

  void End(Sequence* sequence) {
    ++num_ended_;
    scheduler_.Remove(sequence);
    ASSERT_TRUE(sequence->blocks.blocks.empty());
    ASSERT_EQ(alive_.erase(sequence), 1u);
  }

  void Expire() {
    std::vector<Sequence*> expired;
    for (const auto& [sequence, owner] : alive_) {
      if (sequence->request.deadline.has_value() && *sequence->request.deadline <= now_)
        expired.push_back(sequence);
    }
    for (Sequence* sequence : expired) End(sequence);
  }

  void CheckPlan(const Sequence* first_before, const std::vector<Sequence*>& single_before) {
    ASSERT_LE(plan_.num_tokens, limits_.max_step_tokens);
    ASSERT_LE(static_cast<int>(scheduler_.running().size()), limits_.max_running);
    const bool some_paused = std::any_of(scheduler_.running().begin(), scheduler_.running().end(),
                                         [](const Sequence* s) { return s->is_paused; });
    if (!some_paused) ASSERT_EQ(plan_.chunks.empty(), alive_.empty()) << "work and no plan";
    ASSERT_EQ(scheduler_.running().size() + scheduler_.waiting().size(), alive_.size());
    ASSERT_TRUE(std::is_sorted(scheduler_.running().begin(), scheduler_.running().end(),
                               &Sequence::Before));
    if (limits_.kv_admission == KvAdmission::kReserve)
      ASSERT_EQ(scheduler_.counters().num_preemptions, 0);
    std::set<const Sequence*> planned;
    std::set<int32_t> used;
    int32_t total = 0;
    for (const PlannedChunk& chunk : plan_.chunks) {
      const Sequence& sequence = *chunk.sequence;
      ASSERT_TRUE(planned.insert(chunk.sequence).second);
      ASSERT_FALSE(sequence.is_paused);
      ASSERT_GT(chunk.num_tokens, 0);
      ASSERT_EQ(chunk.begin, sequence.num_computed_tokens);
      ASSERT_LE(chunk.end(), sequence.num_tokens());
      if (chunk.end() < sequence.num_prompt_tokens())
        ASSERT_EQ(chunk.end() % limits_.prompt_chunk, 0);
      ASSERT_GE(static_cast<int64_t>(sequence.blocks.blocks.size()), kv_.BlocksFor(chunk.end()));
      for (int32_t i = std::max(chunk.begin, sequence.num_prompt_tokens()); i < chunk.end(); ++i) {
        ASSERT_EQ(sequence.BitsOf(i), chunk.decode_bits())
            << "a chunk's decode rows are of one bits";
      }
      if (sequence.request.auto_bits.has_value())
        ASSERT_GE(sequence.MinBits(), sequence.request.auto_bits->min_bits);
      total += chunk.num_tokens;
    }
    ASSERT_EQ(total, plan_.num_tokens);
    for (const Sequence* sequence : scheduler_.running())
      used.insert(sequence->blocks.blocks.begin(), sequence->blocks.blocks.end());
    ASSERT_EQ(static_cast<int32_t>(used.size()), kv_.num_used_blocks());
    for (Sequence* sequence : scheduler_.waiting()) ASSERT_TRUE(sequence->blocks.blocks.empty());
    if (first_before != nullptr)
      ASSERT_EQ(planned.count(first_before), 1u) << "the first does not advance";
    for (Sequence* sequence : single_before) {
      ASSERT_TRUE(planned.count(sequence) == 1 || sequence->blocks.blocks.empty())
          << "one that decodes was passed over";
    }
  }

  // Writes the chunk's tokens into the blocks, as a model would, and reads all before them back.
  void Compute(const PlannedChunk& chunk) {
    const Sequence& sequence = *chunk.sequence;
    const auto slot = [&](int32_t i) {
      return std::pair(sequence.blocks.blocks[static_cast<size_t>(i / kv_.block_tokens())],
                       i % kv_.block_tokens());
    };
    for (int32_t i = chunk.begin; i < chunk.end(); ++i) {
      written_[slot(i)] = {sequence.tokens[static_cast<size_t>(i)], sequence.BitsOf(i)};
    }
    for (int32_t i = 0; i < chunk.end(); ++i) {
      ASSERT_EQ(written_.at(slot(i)),
                std::pair(sequence.tokens[static_cast<size_t>(i)], sequence.BitsOf(i)))
          << "token " << i << " of request " << sequence.id;
    }
  }

  void StepOnce() {
    const std::vector<Sequence*>& running = scheduler_.running();
    for (Sequence* sequence : running) sequence->is_paused = has_slow_readers_ && Draw(0, 4) == 0;
    const Sequence* const first =
        running.empty() || running.front()->is_paused ? nullptr : running.front();
    std::vector<Sequence*> single;
    std::copy_if(running.begin(), running.end(), std::back_inserter(single), [](const Sequence* s) {
      return !s->is_paused && s->num_tokens() - s->num_computed_tokens == 1;
    });
    scheduler_.Schedule(now_, plan_);
    CheckPlan(first, single);
    if (::testing::Test::HasFatalFailure()) return;
    for (const PlannedChunk& chunk : plan_.chunks) Compute(chunk);
    if (::testing::Test::HasFatalFailure()) return;
    scheduler_.Commit(plan_, std::chrono::milliseconds(Draw(1, 100)));
    for (const PlannedChunk& chunk : plan_.chunks) {
      Sequence& sequence = *chunk.sequence;
      const bool is_first_token = sequence.num_generated_tokens() == 0;
      if (sequence.num_computed_tokens < sequence.num_tokens()) continue;
      if (is_first_token && sequence.choice == 0) BeginOtherChoices(sequence);
      if (sequence.request.max_tokens > 0) sequence.AppendToken(Draw(0, 99));
      if (sequence.num_generated_tokens() >= sequence.request.max_tokens || Draw(0, 30) == 0)
        End(&sequence);
    }
  }

  std::mt19937 random_;
  Scheduler::Limits limits_ = MakeLimits();
  kvcache::KvManager kv_{Draw(1, 30), Draw(1, 16)};
  Scheduler scheduler_{limits_, kv_, kBits};
  bool has_slow_readers_ = Draw(0, 3) == 0;
  int num_requests_ = Draw(1, 30);
  int num_made_ = 0, num_begun_ = 0, num_ended_ = 0;
  Clock::time_point now_{};
  std::map<Sequence*, std::unique_ptr<Sequence>, Scheduler::Order> alive_{&Sequence::Before};
  std::map<std::pair<int32_t, int32_t>, std::pair<int32_t, int>>
      written_;  // (block, slot) -> (token, bits)
  StepPlan plan_;

  Scheduler::Limits MakeLimits() {
    const int budget = Draw(1, 50), chunk = Draw(1, std::min(budget, 12));
    return {.max_step_tokens = budget,
            .max_running = Draw(1, std::min(budget - chunk + 1, 8)),
            .prompt_chunk = chunk,
            .kv_admission = Draw(0, 1) == 0 ? KvAdmission::kReserve : KvAdmission::kOptimistic,
            .max_waiting = Draw(1, 20)};
  }
};

TEST(Scheduler, TenThousandRandomWorkloads) {
  for (uint32_t seed = 0; seed < 10'000; ++seed) {
    Simulation(seed).Run();
    ASSERT_FALSE(::testing::Test::HasFatalFailure()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace bitdial::engine
