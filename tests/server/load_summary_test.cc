// The figures of a run: percentiles, counts, rates, goodput, and the forms they are printed in.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "server/cli/load/distribution.h"
#include "server/cli/load/draw.h"
#include "server/cli/load/report.h"
#include "server/cli/load/summary.h"

namespace bitdial::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// By the definition, sample by sample.
double SlowPercentile(const std::vector<double>& samples, int64_t percent) {
  double least = INFINITY;
  for (const double candidate : samples) {
    const auto at_most = std::count_if(samples.begin(), samples.end(),
                                       [candidate](double s) { return s <= candidate; });
    if (100 * at_most >= percent * static_cast<int64_t>(samples.size())) {
      least = std::min(least, candidate);
    }
  }
  return least;
}

TEST(Distribution, IsTheNearestRank) {
  Draw draw(5);
  for (int size = 1; size <= 220; ++size) {
    std::vector<double> samples;
    for (int i = 0; i < size; ++i) samples.push_back(static_cast<double>(draw.In(0, size)));
    const Distribution d = MakeDistribution(samples);
    EXPECT_EQ(d.count, size);
    EXPECT_EQ(d.p50, SlowPercentile(samples, 50)) << size;
    EXPECT_EQ(d.p90, SlowPercentile(samples, 90)) << size;
    EXPECT_EQ(d.p95, SlowPercentile(samples, 95)) << size;
    EXPECT_EQ(d.p99, SlowPercentile(samples, 99)) << size;
    EXPECT_EQ(d.max, SlowPercentile(samples, 100)) << size;
    std::sort(samples.begin(), samples.end());
    for (int percent = 1; percent <= 100; ++percent) {
      EXPECT_EQ(Percentile(samples, percent), SlowPercentile(samples, percent));
    }
  }
}

TEST(Distribution, KnowsSmallSizes) {
  EXPECT_EQ(MakeDistribution({}).count, 0);
  EXPECT_EQ(MakeDistribution({}).p99, 0);
  const Distribution one = MakeDistribution({3});
  EXPECT_EQ(one.p50, 3);
  EXPECT_EQ(one.p99, 3);
  EXPECT_EQ(MakeDistribution({1, 2}).p50, 1);
  EXPECT_EQ(MakeDistribution({2, 1, 4, 3}).mean, 2.5);
}

// Due at due_s, answered in full with the messages given; ends with the last.
Outcome Answered(int64_t index, double due_s, std::vector<TokenMessage> messages,
                 int32_t bits = 4) {
  Outcome outcome;
  outcome.request = {index, due_s, 10, 0, {BitsWish::Kind::kFixed, bits}};
  outcome.sent_s = due_s;
  outcome.messages = std::move(messages);
  outcome.end_s = outcome.messages.back().at_s;
  outcome.ending = Ending::kOk;
  outcome.request.output_tokens = static_cast<int32_t>(outcome.NumTokens());
  outcome.tokens_by_bits[bits] = outcome.NumTokens();
  return outcome;
}

Outcome Refused(int64_t index, double due_s, double took_s) {
  Outcome outcome;
  outcome.request = {index, due_s, 10, 5, {BitsWish::Kind::kFixed, 2}};
  outcome.sent_s = due_s + 0.5;
  outcome.end_s = outcome.sent_s + took_s;
  outcome.ending = Ending::kRejected;
  outcome.code = "RESOURCE_EXHAUSTED";
  outcome.reason = "QUEUE_FULL";
  outcome.explanation = "the queue is full";
  return outcome;
}

LoadResult Result(std::vector<Outcome> outcomes, double begin_s, double end_s) {
  LoadResult result;
  result.outcomes = std::move(outcomes);
  result.window_begin_s = begin_s;
  result.window_end_s = end_s;
  return result;
}

TEST(Summary, MessagesOfSeveralTokensShareTheirGap) {
  // 1 token at 1.0, 4 at 1.8, 1 at 2.0.
  const LoadResult result = Result({Answered(0, 0.5, {{1.0, 1}, {1.8, 4}, {2.0, 1}})}, 0, 10);
  const Summary summary = Summarize(result, {});
  const Latencies& latencies = summary.all.latencies;
  EXPECT_DOUBLE_EQ(latencies.ttft.p50, 0.5);
  EXPECT_DOUBLE_EQ(latencies.end_to_end.p50, 1.5);
  EXPECT_EQ(latencies.inter_token.count, 5);
  EXPECT_NEAR(latencies.inter_token.mean, 0.2, 1e-12);
  EXPECT_EQ(latencies.message_gap.count, 2);
  EXPECT_NEAR(latencies.message_gap.max, 0.8, 1e-12);
  EXPECT_NEAR(latencies.tpot.p50, 0.2, 1e-12);
  EXPECT_DOUBLE_EQ(summary.output_tokens_per_s, 0.6);
  EXPECT_DOUBLE_EQ(summary.prompt_tokens_per_s, 1.0);
  EXPECT_EQ(summary.output_tokens, 6);
}

TEST(Summary, AOneTokenAnswerHasNoTpot) {
  const Summary summary = Summarize(Result({Answered(0, 0, {{1, 1}})}, 0, 1), {0.1, 0.1});
  EXPECT_EQ(summary.all.latencies.tpot.count, 0);
  EXPECT_EQ(summary.all.latencies.inter_token.count, 0);
  EXPECT_EQ(summary.all.good, 0);  // its TTFT is too long
}

TEST(Summary, CountsEveryEndingOnce) {
  std::vector<Outcome> outcomes = {Answered(0, 0, {{1, 2}}), Refused(1, 0, 0.001),
                                   Refused(2, 0, 0.003)};
  outcomes.push_back(Refused(3, 0, 1));
  outcomes.back().ending = Ending::kFailed;
  outcomes.back().code = "UNAVAILABLE";
  outcomes.back().reason = "";
  outcomes.push_back(Refused(4, 0, 1));
  outcomes.back().ending = Ending::kUnfinished;
  outcomes.back().code = "CANCELLED";
  const Summary summary = Summarize(Result(std::move(outcomes), 0, 10), {});
  EXPECT_EQ(summary.sent(), 5);
  EXPECT_EQ(summary.count(Ending::kOk), 1);
  EXPECT_EQ(summary.count(Ending::kRejected), 2);
  EXPECT_EQ(summary.count(Ending::kFailed), 1);
  EXPECT_EQ(summary.count(Ending::kUnfinished), 1);
  ASSERT_EQ(summary.troubles.size(), 3u);
  EXPECT_EQ(summary.troubles[0].reason, "QUEUE_FULL");
  EXPECT_EQ(summary.troubles[0].count, 2);
  EXPECT_EQ(summary.reject.count, 2);
  EXPECT_NEAR(summary.reject.max, 0.003, 1e-9);  // from the sending, not from when it was due
  EXPECT_DOUBLE_EQ(summary.lateness.max, 0.5);
  ASSERT_EQ(summary.by_bits.size(), 2u);
  EXPECT_EQ(summary.by_bits[0].name, "2");
  EXPECT_EQ(summary.by_bits[0].ok, 0);
  EXPECT_EQ(summary.by_bits[1].sent, 1);
  EXPECT_EQ(summary.tokens_by_bits.at(4), 2);
}

TEST(Summary, GoodputNeedsBothBounds) {
  // TTFT 1, TPOT 0.1; TTFT 3, TPOT 0.1; TTFT 1, TPOT 0.5; exactly at both bounds.
  const LoadResult result = Result(
      {Answered(0, 0, {{1, 1}, {1.1, 1}}), Answered(1, 0, {{3, 1}, {3.1, 1}}),
       Answered(2, 0, {{1, 1}, {1.5, 1}}), Answered(3, 0, {{2, 1}, {2.25, 1}}), Refused(4, 0, 0.1)},
      0, 4);
  const auto good = [&result](Slo slo) { return Summarize(result, slo).all.good; };
  EXPECT_EQ(good({2.0, 0.25}), 2);
  EXPECT_EQ(good({2.0, {}}), 3);
  EXPECT_EQ(good({{}, 0.25}), 3);
  EXPECT_EQ(good({}), 4);
  EXPECT_EQ(good({0.5, 0.25}), 0);
  EXPECT_DOUBLE_EQ(Summarize(result, {2.0, 0.25}).goodput_per_s, 0.5);
}

TEST(Summary, WarmUpIsNotCountedAndTheWindowIsClosed) {
  LoadResult result =
      Result({Answered(0, 0, {{0.5, 1}, {5.5, 3}}),  // warm-up, tokens inside the window
              Answered(1, 5, {{6, 1}, {7, 1}}),      // inside
              Answered(2, 9, {{9.5, 1}, {12, 1}})},  // ends after it
             5, 10);
  result.first_counted = 1;
  const Summary summary = Summarize(result, {100.0, {}});
  EXPECT_EQ(summary.sent(), 2);
  EXPECT_EQ(summary.all.ok, 2);
  EXPECT_EQ(summary.all.latencies.ttft.count, 2);
  EXPECT_DOUBLE_EQ(summary.output_tokens_per_s, (3 + 2 + 1) / 5.0);
  EXPECT_DOUBLE_EQ(summary.prompt_tokens_per_s, 20 / 5.0);
  EXPECT_DOUBLE_EQ(summary.requests_per_s, 2 / 5.0);  // the warm-up's and the second
  EXPECT_DOUBLE_EQ(summary.goodput_per_s, 2 / 5.0);
  EXPECT_EQ(summary.output_tokens, 4);
}

TEST(Summary, OfNothingIsNothing) {
  const Summary summary = Summarize(Result({}, 3, 3), {1.0, 1.0});
  EXPECT_EQ(summary.sent(), 0);
  EXPECT_EQ(summary.output_tokens_per_s, 0);
  EXPECT_THAT(ToText(summary, {1.0, 1.0}), HasSubstr("sent"));
  EXPECT_EQ(ToJson(summary, {1.0, 1.0})["goodput"]["share_of_sent"], 0);
}

TEST(Report, SaysWhatAPersonLooksFor) {
  LoadResult result = Result({Answered(0, 0, {{0.1, 1}, {0.2, 1}}, 4),
                              Answered(1, 0, {{0.1, 1}, {0.4, 1}}, 2), Refused(2, 0, 0.002)},
                             0, 1);
  result.is_interrupted = true;
  const Slo slo = {0.2, 0.15};
  const std::string text = ToText(Summarize(result, slo), slo);
  for (const char* part :
       {"rejected: RESOURCE_EXHAUSTED QUEUE_FULL", "33.3%", "TTFT, 4", "inter-token, 2", "reject",
        "lateness", "goodput: 1.00 requests/s; 33.3% of those sent",
        "TTFT at most 200 ms and TPOT at most 150 ms", "50.0% at 2 bits, 50.0% at 4 bits",
        "the queue is full", "ms late at p99", "ended early"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(ToText(Summarize(Result({}, 0, 1), {}), {}), Not(HasSubstr("goodput")));
}

TEST(Report, JsonCarriesTheSameFigures) {
  const LoadResult result =
      Result({Answered(0, 0, {{0.1, 1}, {0.2, 1}}), Refused(1, 0, 0.002)}, 0, 2);
  const auto json = ToJson(Summarize(result, {0.2, {}}), {0.2, {}});
  EXPECT_EQ(json["sent"], 2);
  EXPECT_EQ(json["ok"], 1);
  EXPECT_EQ(json["rejected"], 1);
  EXPECT_EQ(json["troubles"][0]["reason"], "QUEUE_FULL");
  EXPECT_EQ(json["output_tokens_per_s"], 1.0);
  EXPECT_EQ(json["all"]["ttft_s"]["p99"], 0.1);
  EXPECT_EQ(json["goodput"]["share_of_sent"], 0.5);
  EXPECT_EQ(json["goodput"].count("slo_tpot_s"), 0u);
  EXPECT_EQ(json["tokens_by_bits"]["4"], 2);
}

TEST(Report, TimelineHasALinePerRequest) {
  LoadResult result = Result({Answered(0, 0, {{0.1, 1}, {0.3, 2}}), Refused(1, 0.25, 0.002)}, 0, 2);
  result.first_counted = 1;
  EXPECT_EQ(
      TimelineCsv(result, {1.0, {}}),
      "index,counted,weight_bits,prompt_tokens,output_tokens_asked,output_tokens,due_s,sent_s,"
      "first_token_s,end_s,tpot_s,ending,code,reason,good\n"
      "0,0,4,10,3,3,0.000000,0.000000,0.100000,0.300000,0.100000,ok,OK,,1\n"
      "1,1,2,10,5,0,0.250000,0.750000,,0.752000,,rejected,RESOURCE_EXHAUSTED,QUEUE_FULL,0\n");
}

}  // namespace
}  // namespace bitdial::server
