// What a load is made of: arrivals, sizes and bits, all from a seed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "server/cli/load/arrivals.h"
#include "server/cli/load/workload.h"

namespace bitdial::server {
namespace {

using ::testing::HasSubstr;

std::vector<double> Times(ArrivalKind kind, double rate, int64_t burst, uint64_t seed, int number) {
  Arrivals arrivals(kind, rate, burst, seed);
  std::vector<double> times;
  for (int i = 0; i < number; ++i) times.push_back(arrivals.Next());
  return times;
}

WorkloadOptions Options() {
  WorkloadOptions options;
  options.num_requests = 100;
  options.prompt_tokens = {8, 64};
  options.output_tokens = {16, 16};
  return options;
}

TEST(Draw, CoversItsRangeEvenly) {
  Draw draw(1);
  std::map<int64_t, int> seen;
  constexpr int kDraws = 60'000;
  for (int i = 0; i < kDraws; ++i) ++seen[draw.In(-2, 3)];
  ASSERT_EQ(seen.size(), 6u);
  // Each count is binomial with standard deviation below 92: 6 of them.
  for (const auto& [value, count] : seen) EXPECT_NEAR(count, kDraws / 6, 6 * 92) << value;
  EXPECT_EQ(draw.In(5, 5), 5);
}

TEST(Draw, StreamsDiffer) {
  EXPECT_EQ(Draw(7, 3).Next(), Draw(7, 3).Next());
  EXPECT_NE(Draw(7, 3).Next(), Draw(7, 4).Next());
  EXPECT_NE(Draw(7, 3).Next(), Draw(8, 3).Next());
  EXPECT_NE(Draw(0).Next(), 0u);
}

TEST(Arrivals, PoissonGapsAreExponentialWithTheGivenRate) {
  constexpr int kNumber = 20'000;
  for (const double rate : {0.5, 7.0, 1000.0}) {
    for (const uint64_t seed : {0u, 1u, 2u}) {
      const std::vector<double> times = Times(ArrivalKind::kPoisson, rate, 1, seed, kNumber + 1);
      EXPECT_EQ(times.front(), 0);
      double sum = 0, squares = 0;
      int below_mean = 0;
      for (int i = 0; i < kNumber; ++i) {
        const double gap = rate * (times[i + 1] - times[i]);
        ASSERT_GE(gap, 0);
        sum += gap;
        squares += gap * gap;
        below_mean += gap < 1;
      }
      // Mean 1, standard deviation of the mean 1/sqrt(n) = 0.0071; second moment 2, of its mean
      // sqrt(20/n) = 0.032; P(gap < mean) = 1 - 1/e, 0.0034. Six of each.
      EXPECT_NEAR(sum / kNumber, 1, 6 * 0.0071);
      EXPECT_NEAR(squares / kNumber, 2, 6 * 0.032);
      EXPECT_NEAR(static_cast<double>(below_mean) / kNumber, 1 - std::exp(-1), 6 * 0.0034);
    }
  }
}

TEST(Arrivals, BurstsComeTogetherAndEvenlyApart) {
  const std::vector<double> times = Times(ArrivalKind::kBurst, 4, 8, 0, 24);
  for (size_t i = 0; i < times.size(); ++i) {
    EXPECT_DOUBLE_EQ(times[i], static_cast<double>(i / 8) * 2.0) << i;
  }
}

TEST(Arrivals, ConstantOnesDoNotDrift) {
  const std::vector<double> times = Times(ArrivalKind::kConstant, 10, 1, 0, 100'001);
  EXPECT_DOUBLE_EQ(times[1], 0.1);
  EXPECT_DOUBLE_EQ(times[100'000], 10'000);
}

TEST(BitsMix, ReadsEveryForm) {
  const BitsMix equal = BitsMix::Parse("2,3,4").value();
  ASSERT_EQ(equal.parts().size(), 3u);
  for (const auto& part : equal.parts()) EXPECT_DOUBLE_EQ(part.share, 1.0 / 3);
  const BitsMix weighted = BitsMix::Parse("4:3,2:1,dense:4").value();
  EXPECT_DOUBLE_EQ(weighted.parts()[0].share, 0.375);
  EXPECT_EQ(ToText(weighted.parts()[2].wish), "dense");
  for (const char* text : {"auto", "auto:2", "4", "dense"}) {
    const BitsMix one = BitsMix::Parse(text).value();
    ASSERT_EQ(one.parts().size(), 1u);
    EXPECT_EQ(ToText(one.parts()[0].wish), text);
    const BitsWish wish = ParseBitsWish(text).value();
    EXPECT_EQ(wish, one.parts()[0].wish);
  }
  EXPECT_EQ(ToText(BitsMix().Pick(0.5)), "default");
}

TEST(BitsMix, RefusesTheRest) {
  for (const char* text :
       {"",       ",",        "4,",        "4,,2", "four",    "0",
        "17",     "-1",       "4:",        "4:0",  "4:-1",    "4:nan",
        "4:inf",  "4:0.5:2",  " 4",        "4 ",   "auto:",   "auto:0",
        "auto,4", "auto:2,4", "automatic", "4,4",  "4:1,4:2", "99999999999999999999"}) {
    EXPECT_EQ(BitsMix::Parse(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  std::string many = "1";
  for (int i = 2; i <= 20; ++i) many += "," + std::to_string(i);
  EXPECT_FALSE(BitsMix::Parse(many).ok());
}

TEST(BitsMix, IsDrawnByItsWeights) {
  WorkloadOptions options = Options();
  options.num_requests = 20'000;
  options.bits = BitsMix::Parse("4:0.7,2:0.3").value();
  const Workload load = Workload::Make(options).value();
  int four = 0;
  for (int64_t i = 0; i < load.size(); ++i) four += load.At(i)->bits.bits == 4;
  EXPECT_NEAR(four, 14'000, 6 * 65);  // binomial: standard deviation 65
  EXPECT_EQ(load.Wishes().size(), 2u);
}

TEST(TokenRange, ReadsNumbersAndRanges) {
  TokenRange range = ParseTokenRange("32").value();
  EXPECT_EQ(range.min, 32);
  EXPECT_EQ(range.max, 32);
  range = ParseTokenRange("1:1048576").value();
  EXPECT_EQ(range.max, 1 << 20);
  for (const char* text :
       {"", ":", "1:", ":1", "0", "0:4", "5:4", "1:2:3", "-1", "1.5", "1048577", "4294967297"}) {
    EXPECT_FALSE(ParseTokenRange(text).ok()) << text;
  }
}

TEST(Workload, FollowsFromItsSeed) {
  for (const ArrivalKind kind :
       {ArrivalKind::kPoisson, ArrivalKind::kBurst, ArrivalKind::kConstant, ArrivalKind::kClosed}) {
    WorkloadOptions options = Options();
    options.arrivals = kind;
    options.bits = BitsMix::Parse("2,3,4").value();
    const Workload first = Workload::Make(options).value();
    const Workload again = Workload::Make(options).value();
    options.seed = 1;
    const Workload other = Workload::Make(options).value();
    ASSERT_EQ(first.size(), 100);
    int different = 0;
    for (int64_t i = 0; i < 100; ++i) {
      const auto a = first.At(i), b = again.At(i), c = other.At(i);
      EXPECT_EQ(a->arrival_s, b->arrival_s);
      EXPECT_EQ(a->prompt_tokens, b->prompt_tokens);
      EXPECT_EQ(a->bits, b->bits);
      EXPECT_EQ(first.PromptIds(*a, 500), again.PromptIds(*b, 500));
      different += a->prompt_tokens != c->prompt_tokens;
      EXPECT_GE(a->prompt_tokens, 8);
      EXPECT_LE(a->prompt_tokens, 64);
      EXPECT_EQ(a->output_tokens, 16);
    }
    EXPECT_GT(different, 50);
    EXPECT_FALSE(first.At(100));
  }
}

TEST(Workload, PromptsAreIdsOfTheVocabulary) {
  const Workload load = Workload::Make(Options()).value();
  for (int64_t i = 0; i < 100; ++i) {
    const auto ids = load.PromptIds(*load.At(i), 7);
    EXPECT_EQ(static_cast<int32_t>(ids.size()), load.At(i)->prompt_tokens);
    for (const int32_t id : ids) EXPECT_TRUE(id >= 0 && id < 7) << id;
  }
  EXPECT_NE(load.PromptIds(*load.At(0), 1 << 20), load.PromptIds(*load.At(1), 1 << 20));
}

TEST(Workload, DurationCountsFromTheFirstThatCounts) {
  WorkloadOptions options = Options();
  options.num_requests.reset();
  options.arrivals = ArrivalKind::kConstant;
  options.rate = 10;
  options.duration_s = 3;
  const Workload plain = Workload::Make(options).value();
  EXPECT_EQ(plain.size(), 30);
  options.warmup = 50;
  const Workload warm = Workload::Make(options).value();
  EXPECT_EQ(warm.size(), 80);
  options.warmup = 0;
  options.duration_s = 0.01;  // the first one always counts
  const Workload one = Workload::Make(options).value();
  EXPECT_EQ(one.size(), 1);
}

TEST(Workload, ClosedOnesWithADurationHaveNoLast) {
  WorkloadOptions options = Options();
  options.arrivals = ArrivalKind::kClosed;
  options.num_requests.reset();
  options.duration_s = 1;
  const Workload load = Workload::Make(options).value();
  EXPECT_EQ(load.size(), 0);
  EXPECT_TRUE(load.At(12'345).has_value());
  EXPECT_FALSE(load.At(kMaxLoadRequests).has_value());
  EXPECT_EQ(load.Largest().prompt_tokens, 64);
}

TEST(Workload, HasLimits) {
  WorkloadOptions options = Options();
  options.num_requests.reset();
  options.rate = 100'000;
  options.duration_s = 86'400;
  EXPECT_THAT(Workload::Make(options).status().ToString(), HasSubstr("lower --rate"));
  options = Options();
  options.rate = 0.001;
  options.num_requests = 100'000;  // years
  EXPECT_FALSE(Workload::Make(options).ok());
  for (const ArrivalKind kind : {ArrivalKind::kPoisson, ArrivalKind::kClosed}) {
    options = Options();
    options.arrivals = kind;
    options.num_requests = 1000;
    options.output_tokens = {1, 1 << 20};
    EXPECT_FALSE(Workload::Make(options).ok());
  }
  options = Options();
  options.num_requests = kMaxLoadRequests;
  options.warmup = 1;
  options.output_tokens = {1, 1};
  options.rate = 1000;
  EXPECT_FALSE(Workload::Make(options).ok());
}

TEST(Workload, ReplayNeedsARequestThatCounts) {
  std::vector<LoadRequest> rows(3);
  for (LoadRequest& row : rows) row.prompt_tokens = row.output_tokens = 1;
  rows[2].output_tokens = 9;
  EXPECT_FALSE(Workload::Replay(rows, 3, 0).ok());
  const Workload load = Workload::Replay(rows, 2, 0).value();
  EXPECT_EQ(load.size(), 3);
  EXPECT_EQ(load.warmup(), 2);
  EXPECT_EQ(load.Largest().output_tokens, 9);
  EXPECT_FALSE(load.duration_s().has_value());
}

}  // namespace
}  // namespace bitdial::server
