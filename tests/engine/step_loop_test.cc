// The step loop on a real (tiny) model: rows that do not depend on neighbours, arrivals, cancels,
// deadlines, budgets.
#include "engine/step_loop.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <tuple>

#include "tests/testing/loaded_model.h"
#include "tests/testing/recording_sink.h"

namespace bitdial::engine {
namespace {

using testing::GoldenPath;
using testing::LoadedModel;
using testing::ModelRunner;
using testing::RecordingSink;

Clock::time_point g_now;  // what the loop takes for the time
Clock::time_point Now() { return g_now; }

StepLoopOptions Options(int32_t max_step_tokens, int32_t max_running = 16,
                        int32_t num_kv_blocks = 64) {
  return {.limits = {.max_step_tokens = max_step_tokens,
                     .max_running = std::min(max_running, max_step_tokens)},
          .num_kv_blocks = num_kv_blocks,
          .now = &Now};
}

// As Options, with hardly more room than one sequence may need: others are preempted and
// recomputed.
StepLoopOptions TightOptions(int32_t max_step_tokens, const ModelInfo& model) {
  const int64_t longest = std::min<int64_t>(90, model.max_context);
  StepLoopOptions options =
      Options(max_step_tokens, 16, static_cast<int32_t>((longest + 31) / 32 + 1));
  options.limits.kv_admission = KvAdmission::kOptimistic;
  return options;
}

struct Submitted {
  RequestId id;
  std::shared_ptr<RecordingSink> sink;
};

Submitted Add(StepLoop& loop, const Request& request) {
  static RequestId next_id = 1;
  Submitted submitted{next_id++, std::make_shared<RecordingSink>()};
  loop.Add(std::make_unique<Sequence>(submitted.id, request, submitted.sink, Now()));
  return submitted;
}

Request MakeRequest(std::vector<int32_t> prompt, int bits, int32_t max_tokens) {
  Request request;
  request.prompt_ids = std::move(prompt);
  request.weight_bits = bits;
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  request.ignore_eos = true;
  request.hash_logits = true;
  return request;
}

Request RandomRequest(std::mt19937& random, const ModelInfo& model) {
  const auto draw = [&](int low, int high) {
    return std::uniform_int_distribution(low, high)(random);
  };
  // At most 90 tokens with the output, and the context's.
  const int longest = std::min(70, static_cast<int>(model.max_context) - 20);
  // Long and like others, so that beginnings are shared, or random.
  std::vector<int32_t> prompt(static_cast<size_t>(longest - draw(0, longest / 3)), 5);
  if (draw(0, 1) == 0) {
    prompt.resize(static_cast<size_t>(draw(1, longest)));
    for (int32_t& id : prompt) id = draw(0, static_cast<int>(model.vocab_size) - 1);
  }
  Request request =
      MakeRequest(std::move(prompt),
                  model.bits[static_cast<size_t>(draw(0, static_cast<int>(model.bits.size()) - 1))],
                  draw(1, 20));
  request.sampling.temperature = draw(0, 1) == 0 ? 0.0f : 1.0f;
  request.sampling.seed = static_cast<uint64_t>(draw(0, 1000));
  if (draw(0, 3) == 0) request.sampling.repetition_penalty = 1.3f;
  if (draw(0, 3) == 0) request.prompt_logprobs_from = 1;
  request.uses_prefix_cache = draw(0, 1) == 0;
  request.priority = draw(-1, 1);
  return request;
}

void RunAll(StepLoop& loop) {
  while (loop.Step()) {
  }
}

struct Output {
  std::vector<int32_t> ids;
  std::vector<uint64_t> hashes;
  std::vector<float> prompt_logprobs;
  bool operator==(const Output&) const = default;
};

Output OutputOf(const RecordingSink& sink) {
  Output output{sink.ids(), sink.hashes(), {}};
  for (const PromptLogprob& scored : sink.prompt_logprobs()) {
    EXPECT_EQ(scored.index, static_cast<int32_t>(output.prompt_logprobs.size()) + 1);
    output.prompt_logprobs.push_back(scored.token.logprob);
  }
  return output;
}

struct Setup {
  const char* model;
  const char* backend;
  kernels::KvFormat kv_format;
};
class Invariance : public ::testing::TestWithParam<Setup> {};

// Invariant 8: alone on one thread, or among others of mixed bits that come, go and are cancelled
// at random steps, in chunks of any size, on any number of threads, with beginnings from the prefix
// cache, preempted and recomputed: the same logits, bit for bit, at every step.
TEST_P(Invariance, OneRequestAloneAndAmongOthers) {
  const auto table = kernels::KernelTable::Create(DetectCpuFeatures(), GetParam().backend);
  if (!table.ok()) GTEST_SKIP() << "SKIPPED: " << table.status();
  const ModelOptions model_options{.kv_format = GetParam().kv_format};
  LoadedModel one_thread(GoldenPath(GetParam().model), model_options, GetParam().backend, 1);
  StepLoopOptions alone_options = Options(512);
  alone_options.prefix_cache = false;
  auto alone = StepLoop::Create(*one_thread.model, one_thread.pool, alone_options).value();
  int64_t num_hits = 0, num_preemptions = 0;
  for (const auto& [num_threads, budget, is_tight] :
       {std::tuple(1, 512, false), std::tuple(2, 17, true), std::tuple(3, 33, true)}) {
    LoadedModel loaded(GoldenPath(GetParam().model), model_options, GetParam().backend,
                       num_threads);
    const auto seed = static_cast<uint32_t>(1000 * num_threads + budget);
    std::mt19937 random(seed);
    auto loop =
        StepLoop::Create(*loaded.model, loaded.pool,
                         is_tight ? TightOptions(budget, loaded.model->info()) : Options(budget))
            .value();
    std::vector<Request> requests;
    std::vector<Submitted> kept, victims;
    while (requests.size() < 20 || loop->has_work()) {
      if (requests.size() < 20 && random() % 3 == 0) {
        requests.push_back(RandomRequest(random, loaded.model->info()));
        kept.push_back(Add(*loop, requests.back()));
      }
      if (random() % 8 == 0)
        victims.push_back(Add(*loop, RandomRequest(random, loaded.model->info())));
      if (!victims.empty() && random() % 4 == 0)
        loop->Cancel(victims[random() % victims.size()].id, std::nullopt, absl::CancelledError());
      if (requests.size() == 20) {
        for (const Submitted& victim : victims)
          loop->Cancel(victim.id, std::nullopt, absl::CancelledError());
      }
      loop->Step();
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      const Submitted reference = Add(*alone, requests[i]);
      RunAll(*alone);
      ASSERT_EQ(static_cast<int32_t>(kept[i].sink->ids().size()), requests[i].max_tokens);
      EXPECT_TRUE(OutputOf(*kept[i].sink) == OutputOf(*reference.sink))
          << "seed " << seed << " request " << i << " at " << requests[i].weight_bits << " bits";
    }
    EXPECT_EQ(loop->stats().kv_blocks_used, 0);
    num_hits += loop->stats().num_prefix_tokens_hit;
    num_preemptions += loop->stats().num_preemptions;
  }

  if (one_thread.model->info().max_context < 90) return;  // too short for more than a block or two
  EXPECT_GT(num_hits, 0) << "this run showed nothing about them";
  EXPECT_GT(num_preemptions, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Models, Invariance,
    ::testing::Values(Setup{"anybcq_release", "", kernels::KvFormat::kF16},
                      Setup{"anybcq_release", "cpu_avx2", kernels::KvFormat::kF32},
                      Setup{"anybcq_release", "cpu_ref", kernels::KvFormat::kF16},
                      Setup{"llama/gqa_bias_f32", "", kernels::KvFormat::kF16},
                      Setup{"llama/gqa_tied_f16", "cpu_ref", kernels::KvFormat::kF32},
                      Setup{"llama/head_dim_bf16", "", kernels::KvFormat::kF32},
                      Setup{"opt/planes_f16", "", kernels::KvFormat::kF16},
                      Setup{"opt/planes_f16", "cpu_ref", kernels::KvFormat::kF32},
                      Setup{"opt/pre_norm_proj_bf16", "cpu_avx2", kernels::KvFormat::kF16},
                      Setup{"opt/plain_gelu_f32", "", kernels::KvFormat::kF32}));

class StepLoopTest : public ::testing::Test {
 protected:
  StepLoopTest() { g_now = Clock::time_point{} + std::chrono::hours(1); }
  std::unique_ptr<StepLoop> Make(const StepLoopOptions& options) {
    return StepLoop::Create(*loaded_.model, loaded_.pool, options).value();
  }
  LoadedModel loaded_{GoldenPath("anybcq_release")};
};

TEST_F(StepLoopTest, AnArrivalJoinsAtTheNextStep) {
  auto loop = Make(Options(512));
  const Submitted first = Add(*loop, MakeRequest({1, 2, 3}, 4, 20));
  for (int i = 0; i < 5; ++i) loop->Step();
  EXPECT_EQ(first.sink->ids().size(), 5u);
  const Submitted second = Add(*loop, MakeRequest({4, 5}, 2, 20));
  loop->Step();
  EXPECT_EQ(first.sink->ids().size(), 6u);
  EXPECT_EQ(second.sink->ids().size(), 1u);
  EXPECT_EQ(loop->stats().num_steps, 6);
}

TEST_F(StepLoopTest, TheBudgetIsNeverPassed) {
  auto loop = Make(Options(9));
  std::mt19937 random(3);
  for (int i = 0; i < 12; ++i) Add(*loop, RandomRequest(random, loaded_.model->info()));
  int64_t before = 0;
  while (loop->Step()) {
    EXPECT_LE(loop->stats().num_tokens_computed - before, 9);
    before = loop->stats().num_tokens_computed;
  }
}

// n choices: each as it would be alone with its own draws, the prompt's whole blocks computed once.
TEST_F(StepLoopTest, ChoicesShareThePromptAndDrawForThemselves) {
  for (const bool uses_prefix_cache : {true, false}) {
    auto loop = Make(Options(512));
    Request request = MakeRequest(std::vector<int32_t>(70, 9), 4, 8);
    request.sampling.temperature = 1.5f;
    request.sampling.seed = 17;
    request.num_choices = 4;
    request.uses_prefix_cache = uses_prefix_cache;
    const Submitted submitted = Add(*loop, request);
    RunAll(*loop);
    EXPECT_EQ(submitted.sink->num_finishes(), 4);
    std::vector<std::vector<uint64_t>> hashes(4);
    std::vector<std::vector<int32_t>> ids(4);
    for (const TokenEvent& token : submitted.sink->tokens()) {
      hashes[static_cast<size_t>(token.choice)].push_back(token.logits_hash);
      ids[static_cast<size_t>(token.choice)].push_back(token.token_id);
    }
    for (size_t choice = 0; choice < 4; ++choice) {
      ASSERT_EQ(ids[choice].size(), 8u);
      EXPECT_EQ(hashes[choice][0], hashes[0][0]) << "the same prompt, the same logits";
      if (choice > 0) EXPECT_NE(ids[choice], ids[0]);
    }
    // 70 + 8 - 1 rows of the first; of the others what is beyond two blocks of 32.
    EXPECT_EQ(loop->stats().num_tokens_computed, 77 + 3 * (77 - 64));
    EXPECT_EQ(loop->stats().num_prompt_tokens, 70);
    EXPECT_EQ(loop->stats().kv_blocks_used, 0);
    // Who opted out left nothing that another request finds.
    request.num_choices = 1;
    const Submitted again = Add(*loop, request);
    RunAll(*loop);
    EXPECT_EQ(again.sink->finish()->num_cached_tokens, uses_prefix_cache ? 64 : 0);
    EXPECT_EQ(again.sink->ids(), ids[0]);
    EXPECT_EQ(again.sink->hashes(), hashes[0]);
  }
}

// A sink that is not ready holds nobody up, and what it gets later is what it would have got.
TEST_F(StepLoopTest, AReaderThatIsNotReadyIsPaused) {
  class SlowSink : public RecordingSink {
   public:
    bool IsReady() override { return is_ready; }
    bool is_ready = true;
  };
  auto loop = Make(Options(64));
  const Request request = MakeRequest({1, 2, 3}, 3, 20);
  auto slow = std::make_shared<SlowSink>();
  loop->Add(std::make_unique<Sequence>(1000, request, slow, Now()));
  const Submitted neighbour = Add(*loop, request);
  for (int i = 0; i < 5; ++i) loop->Step();
  slow->is_ready = false;
  RunAll(*loop);  // until there is nothing to do
  EXPECT_EQ(neighbour.sink->ids().size(), 20u);
  EXPECT_EQ(slow->ids().size(), 5u);
  EXPECT_TRUE(loop->has_work());
  slow->is_ready = true;
  RunAll(*loop);
  EXPECT_EQ(slow->hashes(), neighbour.sink->hashes());
  EXPECT_FALSE(loop->has_work());
}

TEST_F(StepLoopTest, CancelAndErrorsEndEveryChoiceOnce) {
  for (const int steps_before : {0, 1, 4}) {
    auto loop = Make(Options(16));
    Request request = MakeRequest(std::vector<int32_t>(20, 9), 4, 30);
    request.num_choices = 3;
    const Submitted submitted = Add(*loop, request);
    for (int i = 0; i < steps_before; ++i) loop->Step();
    loop->Cancel(submitted.id, std::nullopt, absl::CancelledError("test"));
    EXPECT_EQ(submitted.sink->num_finishes(), 3);
    EXPECT_FALSE(loop->has_work());
    EXPECT_EQ(loop->stats().kv_blocks_used, 0);
    EXPECT_EQ(loop->stats().num_queued, 0);
  }
}

// Bits that the server chose under load: never below the floor, and replaying them gives the same
// tokens.
TEST_F(StepLoopTest, AutoBitsGoDownUnderLoadAndCanBeReplayed) {
  StepLoopOptions options = TightOptions(64, loaded_.model->info());
  options.limits.max_running = 2;
  auto loop = Make(options);
  std::vector<Submitted> submitted;
  std::vector<Request> requests;
  for (int i = 0; i < 6; ++i) {
    Request request = MakeRequest(std::vector<int32_t>(static_cast<size_t>(20 + i), 9 + i), 4, 20);
    request.auto_bits = AutoBits{.min_bits = i % 2 == 0 ? 2 : 3};
    requests.push_back(request);
    submitted.push_back(Add(*loop, request));
  }
  while (loop->Step()) g_now += std::chrono::milliseconds(60);
  std::set<int> seen;
  auto replay = Make(Options(512));
  for (size_t i = 0; i < requests.size(); ++i) {
    AutoBits& wish = *requests[i].auto_bits;
    for (const TokenEvent& token : submitted[i].sink->tokens()) {
      EXPECT_GE(token.bits, wish.min_bits);
      seen.insert(token.bits);
      wish.schedule.push_back(static_cast<uint8_t>(token.bits));
    }
    ASSERT_EQ(wish.schedule.size(), 20u);
    EXPECT_EQ(submitted[i].sink->finish()->prompt_bits, wish.schedule[0]);
    EXPECT_EQ(submitted[i].sink->finish()->min_bits,
              *std::min_element(wish.schedule.begin(), wish.schedule.end()));
    const Submitted replayed = Add(*replay, requests[i]);
    RunAll(*replay);
    EXPECT_EQ(replayed.sink->hashes(), submitted[i].sink->hashes());
    EXPECT_EQ(replayed.sink->ids(), submitted[i].sink->ids());
  }
  EXPECT_GE(seen.size(), 2u) << "the load never changed the bits";
  EXPECT_EQ(*seen.begin(), 2);
}

// Waiting, in the middle of the prompt, decoding: a cancel and a deadline end each within a step
// and free its blocks.
TEST_F(StepLoopTest, CancelAndDeadlineEndEveryState) {
  for (const bool by_deadline : {false, true}) {
    for (const int steps_before : {0, 1, 5}) {
      SCOPED_TRACE(::testing::Message()
                   << (by_deadline ? "deadline" : "cancel") << " after " << steps_before);
      auto loop = Make(Options(8, 2));
      const Submitted neighbour = Add(*loop, MakeRequest({1}, 3, 20));
      Request request = MakeRequest(std::vector<int32_t>(20, 7), 4, 20);
      if (by_deadline) request.deadline = g_now + std::chrono::seconds(1);
      const Submitted submitted = Add(*loop, request);  // 7 + 7 + 6 prompt tokens, then decoding
      for (int i = 0; i < steps_before; ++i) loop->Step();
      if (by_deadline) {
        g_now += std::chrono::seconds(1);
      } else {
        loop->Cancel(submitted.id, std::nullopt, absl::CancelledError("test"));
      }
      loop->Step();
      ASSERT_EQ(submitted.sink->num_finishes(), 1);
      const FinishEvent finish = *submitted.sink->finish();
      EXPECT_EQ(finish.reason, by_deadline ? FinishReason::kDeadline : FinishReason::kCancelled);
      EXPECT_EQ(finish.status.code(),
                by_deadline ? absl::StatusCode::kDeadlineExceeded : absl::StatusCode::kCancelled);
      EXPECT_EQ(finish.num_generated_tokens, static_cast<int32_t>(submitted.sink->ids().size()));
      EXPECT_EQ(loop->stats().kv_blocks_used, 1);  // the neighbour's
      EXPECT_EQ(loop->num_requests(), 1);
      RunAll(*loop);
      EXPECT_EQ(neighbour.sink->ids().size(), 20u);
      EXPECT_EQ(neighbour.sink->finish()->reason, FinishReason::kLength);
      EXPECT_EQ(loop->stats().kv_blocks_used, 0);
      EXPECT_EQ(submitted.sink->num_finishes(), 1);
    }
  }
}

TEST_F(StepLoopTest, EosStopIdsAndLengthEndTheOutput) {
  auto loop = Make(Options(64));
  Request request = MakeRequest({1, 61, 59}, 4, 6);
  const Submitted plain = Add(*loop, request);
  RunAll(*loop);
  const std::vector<int32_t> ids = plain.sink->ids();
  ASSERT_EQ(ids.size(), 6u);
  EXPECT_EQ(plain.sink->finish()->reason, FinishReason::kLength);

  request.stop_token_ids = {ids[2]};
  const Submitted stopped = Add(*loop, request);
  RunAll(*loop);
  EXPECT_EQ(stopped.sink->finish()->reason, FinishReason::kStopToken);
  EXPECT_EQ(stopped.sink->ids().back(), ids[2]);
  EXPECT_LE(stopped.sink->ids().size(), 3u);

  request.stop_token_ids.clear();
  request.sampling.logit_bias = {{loaded_.model->info().eos_ids[0], 1e5f}};
  request.ignore_eos = false;
  request.min_tokens = 2;
  const Submitted eos = Add(*loop, request);
  RunAll(*loop);
  EXPECT_EQ(eos.sink->finish()->reason, FinishReason::kEos);
  EXPECT_EQ(eos.sink->ids().size(), 3u);  // two before it was allowed, then at once

  request.ignore_eos = true;
  const Submitted ignored = Add(*loop, request);
  RunAll(*loop);
  EXPECT_EQ(ignored.sink->finish()->reason, FinishReason::kLength);
}

// The perplexity path: log p of every prompt token, whatever the chunks, equals what the raw logits
// say.
TEST_F(StepLoopTest, PromptLogprobsFollowFromTheLogits) {
  std::mt19937 random(11);
  std::vector<int32_t> prompt(100);
  for (int32_t& id : prompt) id = static_cast<int32_t>(random() % 96);
  ModelRunner runner(loaded_);
  const std::vector<float> logits = runner.PromptLogits(prompt, 3);
  for (const int32_t budget : {13, 512}) {
    auto loop = Make(Options(budget));
    Request request = MakeRequest(prompt, 3, 0);
    request.prompt_logprobs_from = 10;
    request.num_top_logprobs = 2;
    const Submitted submitted = Add(*loop, request);
    RunAll(*loop);
    EXPECT_EQ(submitted.sink->finish()->reason, FinishReason::kLength);
    EXPECT_TRUE(submitted.sink->ids().empty());
    const std::vector<PromptLogprob> scored = submitted.sink->prompt_logprobs();
    ASSERT_EQ(scored.size(), 90u);
    for (size_t i = 0; i < scored.size(); ++i) {
      const int32_t index = static_cast<int32_t>(i) + 10;
      ASSERT_EQ(scored[i].index, index);
      const float* row = logits.data() + (index - 1) * 96;
      double sum = 0;
      for (int id = 0; id < 96; ++id) sum += std::exp(double{row[id]});
      const int32_t id = prompt[static_cast<size_t>(index)];
      EXPECT_EQ(scored[i].token.id, id);
      // The head's prompt and decode kernels may differ by rounding: 64 products of logits up to 8.
      EXPECT_NEAR(scored[i].token.logprob, row[id] - std::log(sum), 1e-4);
      ASSERT_EQ(scored[i].top.size(), 2u);
      EXPECT_GE(scored[i].top[0].logprob, scored[i].top[1].logprob);
      EXPECT_GE(scored[i].top[0].logprob, scored[i].token.logprob);
    }
  }
}

// Forwards to a model and spoils the logits of one position.
class PoisonedModel final : public DecoderModel {
 public:
  PoisonedModel(const DecoderModel& model, int32_t position) : model_(model), position_(position) {}
  const ModelInfo& info() const override { return model_.info(); }
  const kvcache::KvShape& kv_shape() const override { return model_.kv_shape(); }
  int64_t WorkspaceFloats(int64_t max_tokens, int64_t max_logits_rows) const override {
    return model_.WorkspaceFloats(max_tokens, max_logits_rows);
  }
  Matrix<float> Forward(const Batch& batch, const kvcache::KvStore& kv,
                        StepContext& step) const override {
    return model_.Forward(batch, kv, step);
  }
  Matrix<float> Logits(Matrix<const float> hidden, std::span<const LogitsRow> wanted,
                       const uint8_t* row_bits, kernels::Role role,
                       StepContext& step) const override {
    Matrix<float> logits = model_.Logits(hidden, wanted, row_bits, role, step);
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (wanted[i].position == position_) {
        logits.Row(static_cast<int64_t>(i))[5] = std::numeric_limits<float>::quiet_NaN();
      }
    }
    return logits;
  }

 private:
  const DecoderModel& model_;
  int32_t position_;
};

TEST_F(StepLoopTest, NaNLogitsFailThatSequenceAlone) {
  const PoisonedModel poisoned(*loaded_.model, /*position=*/30);
  auto loop = StepLoop::Create(poisoned, loaded_.pool, Options(512)).value();
  auto clean = Make(Options(512));
  const Request shorter = MakeRequest({1, 2, 3}, 3, 20);
  const Submitted healthy = Add(*loop, shorter), reference = Add(*clean, shorter);
  const Submitted spoiled = Add(*loop, MakeRequest(std::vector<int32_t>(28, 9), 4, 20));
  Request scoring = MakeRequest(std::vector<int32_t>(40, 9), 4, 0);
  scoring.prompt_logprobs_from = 1;
  const Submitted scored = Add(*loop, scoring);
  RunAll(*loop);
  RunAll(*clean);
  EXPECT_EQ(spoiled.sink->finish()->reason, FinishReason::kError);
  EXPECT_EQ(spoiled.sink->finish()->status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(spoiled.sink->ids().size(), 3u);
  EXPECT_EQ(scored.sink->finish()->reason, FinishReason::kError);
  EXPECT_EQ(healthy.sink->finish()->reason, FinishReason::kLength);
  EXPECT_EQ(healthy.sink->hashes(), reference.sink->hashes());
  EXPECT_EQ(loop->stats().kv_blocks_used, 0);
}

// A decode step of mixed bits reads each plane up to the largest bits present once, and no other.
TEST_F(StepLoopTest, MixedBitsReadEveryPlaneOnce) {
  ModelRunner runner(loaded_);
  const auto code_bytes = [&](const std::vector<int>& bits) {
    std::vector<std::unique_ptr<Sequence>> sequences;
    std::vector<ModelRunner::Part> prompts, decodes;
    for (int b : bits) {
      sequences.push_back(runner.MakeSequence({1, 2, 3}, b));
      prompts.push_back({sequences.back().get(), 3});
      decodes.push_back({sequences.back().get(), 1});
    }
    runner.Step(prompts);
    for (auto& sequence : sequences) sequence->AppendToken(5);
    kernels::WeightTraffic traffic;
    runner.Step(decodes, &traffic);
    for (auto& sequence : sequences) runner.Free(*sequence);
    return traffic.code_bytes;
  };
  // A bit a weight and plane; outputs are stored in tiles of 64 (kernels/formats/bcq/layout.h).
  const auto plane = [](int64_t out, int64_t in) { return (out + 63) / 64 * 64 * in / 8; };
  const int64_t plane_bytes =
      2 * (2 * plane(64, 64) + 2 * plane(32, 64) + 2 * plane(96, 64) + plane(64, 96));
  EXPECT_EQ(code_bytes({4}), 4 * plane_bytes);
  EXPECT_EQ(code_bytes({2}), 2 * plane_bytes);
  EXPECT_EQ(code_bytes({2, 3, 4, 2, 3, 4, 2, 3}), 4 * plane_bytes);
  EXPECT_EQ(code_bytes({2, 3, 2}), 3 * plane_bytes);
}

}  // namespace
}  // namespace bitdial::engine
