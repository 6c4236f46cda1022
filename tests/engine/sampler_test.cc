// The sampler's chain against small cases worked out by hand, and its parts against known answers.
#include "engine/sampler/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>

#include "engine/engine.h"
#include "engine/sampler/philox.h"
#include "engine/sampler/softmax.h"

namespace bitdial::engine {
namespace {

using ::testing::ElementsAre;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(Philox, KnownAnswersOfRandom123) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, DrawsDependOnEveryCoordinate) {
  std::set<double> draws;
  for (uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32}) {
    for (uint32_t choice : {0u, 1u}) {
      for (uint32_t position : {0u, 1u, 1000u}) draws.insert(UniformDraw(seed, choice, position));
    }
  }
  EXPECT_EQ(draws.size(), 18u);
  EXPECT_GE(*draws.begin(), 0.0);
  EXPECT_LT(*draws.rbegin(), 1.0);
}

// Fixed for good: hashes in bug reports must keep their meaning. The value comes from the same
// formula in Python.
TEST(HashLogits, IsPinnedAndSeesEveryBit) {
  const std::vector<float> row = {1.0f, -2.5f, 0.0f};
  const uint64_t hash = HashLogits(row.data(), 3);
  EXPECT_EQ(hash, 0xfcb8089ce324e911ull) << std::hex << hash;
  for (int i = 0; i < 3; ++i) {
    for (int bit = 0; bit < 32; ++bit) {
      std::vector<float> changed = row;
      changed[static_cast<size_t>(i)] =
          std::bit_cast<float>(std::bit_cast<uint32_t>(row[static_cast<size_t>(i)]) ^ (1u << bit));
      EXPECT_NE(HashLogits(changed.data(), 3), hash);
    }
  }
  const std::vector<float> swapped = {-2.5f, 1.0f, 0.0f};
  EXPECT_NE(HashLogits(swapped.data(), 3), hash);
  EXPECT_NE(HashLogits(row.data(), 2), hash);
}

TEST(Softmax, LogSumExpAgreesWithDouble) {
  std::mt19937 random(1);
  for (int size : {1, 2, 15, 16, 17, 1023, 1024, 1025, 49152}) {
    for (float spread : {0.01f, 1.0f, 20.0f, 200.0f}) {
      std::normal_distribution<float> normal(3.0f, spread);
      std::vector<float> row(static_cast<size_t>(size));
      for (float& value : row) value = normal(random);
      const double max = MaxOf(row.data(), size);
      EXPECT_EQ(max, *std::max_element(row.begin(), row.end()));
      double sum = 0;
      for (float value : row) sum += std::exp(value - max);
      // 64 additions a lane and a 2 ulp exp: (64 + 2) * 2^-24 relative at the very worst.
      EXPECT_NEAR(LogSumExp(row.data(), size), max + std::log(sum), 66 * 0x1p-24)
          << size << " " << spread;
    }
  }
}

TEST(Softmax, FindsEveryNonFiniteElement) {
  std::vector<float> row(37, 1.0f);
  EXPECT_TRUE(IsFinite(row.data(), 37));
  for (size_t i = 0; i < row.size(); ++i) {
    for (float bad : {kNaN, -kNaN, kInf, -kInf}) {
      row[i] = bad;
      EXPECT_FALSE(IsFinite(row.data(), 37));
    }
    row[i] = std::numeric_limits<float>::max();
    EXPECT_TRUE(IsFinite(row.data(), 37));
  }
}

TEST(TopLogprobs, BestFirstAndLowerIdFirstAmongEquals) {
  const std::vector<float> row = {1, 3, 2, 3, 0};
  const auto top = TopLogprobs(row.data(), 5, 3, 4.0);
  ASSERT_EQ(top.size(), 3u);
  EXPECT_EQ(top[0].id, 1);
  EXPECT_EQ(top[1].id, 3);
  EXPECT_EQ(top[2].id, 2);
  EXPECT_FLOAT_EQ(top[2].logprob, -2.0f);
  EXPECT_TRUE(TopLogprobs(row.data(), 5, 0, 4.0).empty());
  EXPECT_TRUE(TopLogprobs(row.data(), 5, -1, 4.0).empty());
  EXPECT_EQ(TopLogprobs(row.data(), 5, 50, 4.0).size(), 5u);
}

class SamplerTest : public ::testing::Test {
 protected:
  SamplerTest() {
    request_.prompt_ids = {0};
    request_.max_tokens = 100;
  }
  Sequence MakeSequence(const std::vector<int32_t>& output = {}) const {
    Sequence sequence(1, request_, nullptr, Clock::time_point{});
    for (int32_t id : output) sequence.AppendToken(id);
    return sequence;
  }
  absl::StatusOr<TokenEvent> Sample(const std::vector<float>& logits,
                                    const std::vector<int32_t>& output = {}) {
    const Sampler sampler(static_cast<int64_t>(logits.size()), sampled_vocab_size_, {eos_});
    Sampler::Scratch scratch = sampler.MakeScratch();
    return sampler.Sample(logits.data(), MakeSequence(output), scratch);
  }
  int32_t Greedy(const std::vector<float>& logits, const std::vector<int32_t>& output = {}) {
    request_.sampling.temperature = 0;
    return Sample(logits, output).value().token_id;
  }
  // Which ids come out over many seeds, and how often.
  std::map<int32_t, int> Histogram(const std::vector<float>& logits, int num_draws) {
    std::map<int32_t, int> histogram;
    for (int i = 0; i < num_draws; ++i) {
      request_.sampling.seed = static_cast<uint64_t>(i);
      ++histogram[Sample(logits).value().token_id];
    }
    return histogram;
  }
  std::vector<int32_t> Reachable(const std::vector<float>& logits) {
    std::vector<int32_t> ids;
    for (const auto& [id, count] : Histogram(logits, 500)) ids.push_back(id);
    return ids;
  }

  Request request_;
  int64_t sampled_vocab_size_ = 0;
  int32_t eos_ = 3;
};

TEST_F(SamplerTest, GreedyTakesTheLowestIdAmongEquals) {
  EXPECT_EQ(Greedy({1, 5, 2, 5}), 1);
  EXPECT_EQ(Greedy({-1, -5, -2, -5}), 0);
}

TEST_F(SamplerTest, LogitBiasIsAdded) {
  request_.sampling.logit_bias = {{2, 4.5f}, {1, -1.0f}};
  EXPECT_EQ(Greedy({1, 5, 0, 3}), 2);  // 1, 4, 4.5, 3
}

TEST_F(SamplerTest, RepetitionPenaltyDividesPositiveAndMultipliesNegativeLogits) {
  request_.sampling.repetition_penalty = 2;
  request_.prompt_ids = {1};
  EXPECT_EQ(Greedy({2.4f, 5, 2.6f, 0}), 2);             // 5 / 2 = 2.5
  EXPECT_EQ(Greedy({-1.9f, -1, -2.1f, -9}), 0);         // -1 * 2 = -2
  EXPECT_EQ(Greedy({2.4f, 5, 2.6f, 0}, {2, 2, 2}), 1);  // once, however often seen: 2.5 against 1.3
}

TEST_F(SamplerTest, TheSmallestPenaltiesAndTemperaturesStillDrawAToken) {
  request_.prompt_ids = {1, 2};
  for (float penalty : {1e-45f, 1e-38f, 100.0f}) {
    for (float temperature : {0.0f, 1e-45f, 1e-38f, 1.0f, 100.0f}) {
      request_.sampling.repetition_penalty = penalty;
      request_.sampling.temperature = temperature;
      const auto event = Sample({2, 20, 30, -1}, {2});
      ASSERT_TRUE(event.ok()) << event.status();
      EXPECT_GE(event->token_id, 0);
      EXPECT_LT(event->token_id, 4);
    }
  }
  request_.sampling.repetition_penalty = 1e-38f;
  EXPECT_EQ(Reachable({2, 20, -30, -1}), std::vector<int32_t>{1});  // 20 / 1e-38 beats everything
}

TEST_F(SamplerTest, PresenceAndFrequencyCountTheOutputOnly) {
  request_.prompt_ids = {1, 1, 1};
  request_.sampling.presence_penalty = 1;
  EXPECT_EQ(Greedy({0, 5, 4.5f, 0}), 1);             // the prompt does not count
  EXPECT_EQ(Greedy({0, 5, 4.5f, 0}, {1, 1, 1}), 2);  // 4 against 4.5: once
  request_.sampling.presence_penalty = 0;
  request_.sampling.frequency_penalty = 0.25f;
  EXPECT_EQ(Greedy({0, 5, 4.4f, 0}, {1, 1}), 1);     // 4.5
  EXPECT_EQ(Greedy({0, 5, 4.4f, 0}, {1, 1, 1}), 2);  // 4.25
}

TEST_F(SamplerTest, EosAndStopIdsWaitForMinTokens) {
  request_.min_tokens = 2;
  request_.stop_token_ids = {2};
  EXPECT_EQ(Greedy({0, 1, 8, 9}), 1);
  EXPECT_EQ(Greedy({0, 1, 8, 9}, {0}), 1);
  EXPECT_EQ(Greedy({0, 1, 8, 9}, {0, 0}), 3);
}

TEST_F(SamplerTest, IdsBeyondTheTokenizerAreNeverSampledNorListed) {
  sampled_vocab_size_ = 2;
  request_.num_top_logprobs = 4;
  request_.sampling.logit_bias = {{3, 100.0f}};
  const std::vector<float> logits = {1, 2, 9, 9};
  EXPECT_EQ(Greedy(logits), 1);
  const TokenEvent event = Sample(logits).value();
  ASSERT_EQ(event.top.size(), 2u);
  EXPECT_EQ(event.top[0].id, 1);
  const double sum = std::exp(1.0) + std::exp(2.0) + 2 * std::exp(9.0);
  EXPECT_NEAR(event.top[0].logprob, 2 - std::log(sum), 1e-5);  // they do count in the softmax
  request_.sampling.temperature = 50;
  EXPECT_THAT(Reachable(logits), ElementsAre(0, 1));
}

TEST_F(SamplerTest, LogprobsAreOfTheRawLogits) {
  request_.num_top_logprobs = 1;
  request_.sampling = {.temperature = 0, .repetition_penalty = 3, .logit_bias = {{1, 10.0f}}};
  const TokenEvent event = Sample({2, 1, 0, 0}).value();
  EXPECT_EQ(event.token_id, 1);
  const double sum = std::exp(2.0) + std::exp(1.0) + 2;
  EXPECT_NEAR(event.chosen.logprob, 1 - std::log(sum), 1e-6);
  EXPECT_EQ(event.top[0].id, 0);
  EXPECT_NEAR(event.top[0].logprob, 2 - std::log(sum), 1e-6);
}

TEST_F(SamplerTest, TopKKeepsLowerIdsAmongEquals) {
  request_.sampling.top_k = 2;
  EXPECT_THAT(Reachable({1, 1, 1, 1}), ElementsAre(0, 1));
  EXPECT_THAT(Reachable({1, 2, 1, 3}), ElementsAre(1, 3));
}

// Probabilities 0.5, 0.25, 0.15, 0.1.
const std::vector<float> kFour = {std::log(0.5f), std::log(0.25f), std::log(0.15f), std::log(0.1f)};

TEST_F(SamplerTest, TopPKeepsTheFewestThatReachIt) {
  request_.sampling.top_p = 0.45f;
  EXPECT_THAT(Reachable(kFour), ElementsAre(0));
  request_.sampling.top_p = 0.74f;
  EXPECT_THAT(Reachable(kFour), ElementsAre(0, 1));
  request_.sampling.top_p = 0.76f;
  EXPECT_THAT(Reachable(kFour), ElementsAre(0, 1, 2));
}

TEST_F(SamplerTest, TopPIsTakenOfWhatTopKLeft) {
  request_.sampling.top_k = 2;      // 2/3, 1/3
  request_.sampling.top_p = 0.66f;  // of 1: 0.5 alone would not reach it
  EXPECT_THAT(Reachable(kFour), ElementsAre(0));
}

TEST_F(SamplerTest, MinPIsRelativeToTheLargest) {
  request_.sampling.min_p = 0.29f;  // 0.5 * 0.29 = 0.145
  EXPECT_THAT(Reachable(kFour), ElementsAre(0, 1, 2));
  request_.sampling.min_p = 0.31f;
  EXPECT_THAT(Reachable(kFour), ElementsAre(0, 1));
  request_.sampling.min_p = 1.0f;
  EXPECT_THAT(Reachable(kFour), ElementsAre(0));
}

TEST_F(SamplerTest, DrawsFollowTheProbabilities) {
  constexpr int kDraws = 20000;
  for (float temperature : {1.0f, 0.5f}) {
    request_.sampling.temperature = temperature;
    double total = 0;
    for (float logit : kFour) total += std::exp(logit / temperature);
    const auto histogram = Histogram(kFour, kDraws);
    for (int32_t id = 0; id < 4; ++id) {
      const double p = std::exp(kFour[static_cast<size_t>(id)] / temperature) / total;
      // Five standard deviations: seeds are fixed, so this either always passes or never.
      EXPECT_NEAR(histogram.at(id), p * kDraws, 5 * std::sqrt(p * (1 - p) * kDraws));
    }
  }
}

TEST_F(SamplerTest, FiltersThatKeepEverythingChangeNoDraw) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(1000);
  for (float& logit : logits) logit = normal(random);
  for (uint64_t seed = 0; seed < 200; ++seed) {
    request_.sampling = SamplingParams();
    request_.sampling.seed = seed;
    const int32_t plain = Sample(logits).value().token_id;
    request_.sampling.top_k = 1000;
    request_.sampling.top_p = 0.9999999f;
    request_.sampling.min_p = 1e-30f;
    EXPECT_EQ(Sample(logits).value().token_id, plain) << seed;
  }
}

TEST_F(SamplerTest, ATinyTemperatureIsGreedy) {
  request_.sampling.temperature = 1e-30f;
  EXPECT_THAT(Reachable({1, 5, 2, 4.999f}), ElementsAre(1));
}

TEST_F(SamplerTest, BadLogitsAndAnEmptyChoiceAreErrorsOfTheSequence) {
  EXPECT_EQ(Sample({1, kNaN, 2, 3}).status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(Sample({1, kInf, 2, 3}).status().code(), absl::StatusCode::kInternal);
  request_.min_tokens = 1;
  request_.stop_token_ids = {0, 1, 2};
  EXPECT_EQ(Sample({1, 2, 3, 4}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace bitdial::engine
