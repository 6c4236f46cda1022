// What is counted, what a scrape sees, and the page that explains it.
#include "server/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>
#include <thread>

#include "server/config/config.h"
#include "server/metrics/metric_table.h"
#include "server/metrics/metrics_server.h"
#include "server/metrics/request_metrics.h"
#include "tests/server/fakes.h"

namespace bitdial::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Says of itself what a test tells it to.
class ToldEngine : public testing::FakeEngine {
 public:
  ToldEngine() : FakeEngine({}) {}
  engine::EngineStats stats() const override { return told; }
  engine::EngineStats told;
};

engine::TokenEvent Token(int32_t choice, int bits) {
  engine::TokenEvent token;
  token.choice = choice;
  token.bits = bits;
  return token;
}

class MetricsTest : public ::testing::Test {
 protected:
  MetricsTest() : model_(testing::MakeServedModel()) {
    auto engine = std::make_unique<ToldEngine>();
    engine_ = engine.get();
    model_.engine = std::move(engine);
  }
  std::string Page() const { return prometheus::TextSerializer().Serialize(metrics_.Collect()); }
  // An accepted request of these bits with `num_tokens` tokens, ended.
  void Request(int bits, int num_tokens, bool is_auto = false) {
    engine::Request request;
    request.weight_bits = bits;
    if (is_auto) request.auto_bits.emplace();
    RequestMetrics of_request(metrics_, request);
    for (int i = 0; i < num_tokens; ++i) of_request.OnToken(Token(0, bits));
    engine::FinishEvent finish;
    finish.num_prompt_tokens = 10;
    finish.prompt_bits = bits;
    finish.queue_s = 0.004;
    of_request.OnFinish(finish);
    of_request.OnEnd("OK", "eos");
  }

  Metrics metrics_;
  ServedModel model_;
  ToldEngine* engine_ = nullptr;
};

TEST(SecondsHistogram, CountsIntoTheBucketWhoseBoundIsNotBelow) {
  SecondsHistogram histogram;
  for (double seconds : {0.0, 0.001, 0.0011, 2560.0, 2561.0, -1.0, std::nan("")})
    histogram.Observe(seconds);
  const auto metric = histogram.Collect().histogram;
  ASSERT_EQ(metric.bucket.size(), kSecondsBuckets.size() + 1);
  EXPECT_EQ(metric.bucket[0].cumulative_count, 4u);  // 0, 0.001, -1 and NaN
  EXPECT_EQ(metric.bucket[1].cumulative_count, 5u);
  EXPECT_EQ(metric.bucket[metric.bucket.size() - 2].cumulative_count, 6u);
  EXPECT_EQ(metric.bucket.back().cumulative_count, 7u);
  EXPECT_EQ(metric.bucket.back().upper_bound, std::numeric_limits<double>::infinity());
  EXPECT_EQ(metric.sample_count, 7u);
  EXPECT_DOUBLE_EQ(metric.sample_sum, 0.001 + 0.0011 + 2560 + 2561);
}

TEST(SecondsHistogram, LosesNothingBetweenThreads) {
  SecondsHistogram histogram;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) histogram.Observe(0.5);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(histogram.Collect().histogram.sample_count, 4000u);
  EXPECT_EQ(histogram.Collect().histogram.sample_sum, 2000.0);
}

TEST_F(MetricsTest, EveryMetricOfTheTableHasSamplesAndNoOther) {
  metrics_.Serve(model_);
  std::set<std::string> with_samples, known;
  for (const auto& family : metrics_.Collect()) {
    if (!family.metric.empty()) with_samples.insert(family.name);
  }
  for (const MetricInfo& info : MetricTable()) known.insert(info.name);
  EXPECT_EQ(with_samples, known);
}

TEST(MetricTable, IsWhatOperationsExplains) {
  std::stringstream text;
  text << std::ifstream(BITDIAL_SOURCE_DIR "/docs/operations.md").rdbuf();
  for (const MetricInfo& info : MetricTable()) {
    const char* type = info.type == prometheus::MetricType::Gauge     ? "gauge"
                       : info.type == prometheus::MetricType::Counter ? "counter"
                                                                      : "histogram";
    EXPECT_THAT(text.str(), HasSubstr(fmt::format("| `{}` | {} | {} | {} |", info.name, type,
                                                  info.labels, info.help)));
  }
}

TEST_F(MetricsTest, BeforeAModelItSaysThatItDoesNotServe) {
  const std::string page = Page();
  EXPECT_THAT(page, HasSubstr("bitdial_serving 0\n"));
  EXPECT_THAT(page, HasSubstr("bitdial_build_info{version=\""));
  EXPECT_THAT(page, Not(HasSubstr("bitdial_requests_running ")));
}

TEST_F(MetricsTest, TellsWhatTheEngineTells) {
  engine::EngineStats& stats = engine_->told;
  stats.num_running = 3;
  stats.num_queued = 5;
  stats.num_queued_tokens = 70;
  stats.num_steps = 11;
  stats.num_tokens_computed = 130;
  stats.num_preemptions = 17;
  stats.num_prefix_tokens_asked = 190;
  stats.num_prefix_tokens_hit = 23;
  stats.kv_blocks_used = 29;
  stats.kv_blocks_cached = 21;
  stats.kv_blocks_total = 100;
  stats.step_seconds = 2.5;
  stats.host_gap_seconds = 0.25;
  stats.auto_bits = 3;
  stats.seconds_without_progress = 1.5;
  metrics_.Serve(model_);
  const std::string page = Page();
  for (const char* line :
       {"bitdial_requests_running 3\n", "bitdial_requests_queued 5\n", "bitdial_queued_tokens 70\n",
        "bitdial_steps_total 11\n", "bitdial_computed_tokens_total 130\n",
        "bitdial_preemptions_total 17\n", "bitdial_prefix_cache_queried_tokens_total 190\n",
        "bitdial_prefix_cache_hit_tokens_total 23\n", "bitdial_kv_blocks{state=\"used\"} 29\n",
        "bitdial_kv_blocks{state=\"cached\"} 21\n", "bitdial_kv_blocks{state=\"free\"} 50\n",
        "bitdial_kv_cache_usage_ratio 0.29", "bitdial_step_seconds_total 2.5\n",
        "bitdial_host_gap_seconds_total 0.25\n", "bitdial_auto_planes 3\n",
        "bitdial_seconds_without_progress 1.5\n"}) {
    EXPECT_THAT(page, HasSubstr(line));
  }
}

TEST_F(MetricsTest, RequestsTokensAndTimesAreCountedByBits) {
  metrics_.Serve(model_);
  Request(2, 5);
  Request(4, 1);
  Request(4, 1);
  Request(3, 2, /*is_auto=*/true);
  const std::string page = Page();
  for (const char* line :
       {"bitdial_requests_total{weight_bits=\"2\",status=\"OK\",reason=\"eos\"} 1\n",
        "bitdial_requests_total{weight_bits=\"4\",status=\"OK\",reason=\"eos\"} 2\n",
        "bitdial_requests_total{weight_bits=\"3\",status=\"OK\",reason=\"eos\"} 0\n",
        "bitdial_requests_total{weight_bits=\"auto\",status=\"OK\",reason=\"eos\"} 1\n",
        "bitdial_generation_tokens_total{weight_bits=\"2\"} 5\n",
        "bitdial_generation_tokens_total{weight_bits=\"3\"} 2\n",
        "bitdial_generation_tokens_total{weight_bits=\"4\"} 2\n",
        "bitdial_prompt_tokens_total{weight_bits=\"3\"} 10\n",
        "bitdial_prompt_tokens_total{weight_bits=\"4\"} 20\n",
        "bitdial_time_to_first_token_seconds_count{weight_bits=\"2\"} 1\n",
        "bitdial_time_to_first_token_seconds_count{weight_bits=\"3\"} 0\n",
        "bitdial_time_to_first_token_seconds_count{weight_bits=\"auto\"} 1\n",
        "bitdial_inter_token_latency_seconds_count{weight_bits=\"2\"} 4\n",
        "bitdial_inter_token_latency_seconds_count{weight_bits=\"3\"} 1\n",
        "bitdial_inter_token_latency_seconds_count{weight_bits=\"4\"} 0\n",
        "bitdial_e2e_request_latency_seconds_count{weight_bits=\"4\"} 2\n",
        "bitdial_request_queue_time_seconds_bucket{weight_bits=\"2\",le=\"0.0025\"} 0\n",
        "bitdial_request_queue_time_seconds_bucket{weight_bits=\"2\",le=\"0.005\"} 1\n",
        "bitdial_request_queue_time_seconds_bucket{weight_bits=\"2\",le=\"+Inf\"} 1\n"}) {
    EXPECT_THAT(page, HasSubstr(line));
  }
}

// What one request's bits are may change from token to token.
TEST_F(MetricsTest, TokensOfAutoBitsCountWhereEachWasMade) {
  metrics_.Serve(model_);
  engine::Request request;
  request.weight_bits = 4;
  request.auto_bits.emplace();
  RequestMetrics of_request(metrics_, request);
  for (int bits : {4, 3, 3, 2}) of_request.OnToken(Token(0, bits));
  engine::FinishEvent finish;
  finish.num_prompt_tokens = 7;
  finish.prompt_bits = 4;
  finish.min_bits = 2;
  of_request.OnFinish(finish);
  const std::string page = Page();
  for (const char* line : {"bitdial_generation_tokens_total{weight_bits=\"4\"} 1\n",
                           "bitdial_generation_tokens_total{weight_bits=\"3\"} 2\n",
                           "bitdial_generation_tokens_total{weight_bits=\"2\"} 1\n",
                           "bitdial_inter_token_latency_seconds_count{weight_bits=\"4\"} 0\n",
                           "bitdial_inter_token_latency_seconds_count{weight_bits=\"3\"} 2\n",
                           "bitdial_inter_token_latency_seconds_count{weight_bits=\"2\"} 1\n",
                           "bitdial_prompt_tokens_total{weight_bits=\"4\"} 7\n",
                           "bitdial_time_to_first_token_seconds_count{weight_bits=\"auto\"} 1\n"}) {
    EXPECT_THAT(page, HasSubstr(line));
  }
}

// Tokens of several choices come in turns; a gap is between two of the same.
TEST_F(MetricsTest, GapsAreWithinOneChoice) {
  metrics_.Serve(model_);
  engine::Request request;
  request.weight_bits = 2;
  request.num_choices = 3;
  RequestMetrics of_request(metrics_, request);
  for (int32_t choice : {0, 1, 2, 0, 2}) of_request.OnToken(Token(choice, 2));
  for (int32_t choice : {1, 0, 2}) {
    engine::FinishEvent finish;
    finish.choice = choice;
    finish.num_prompt_tokens = 7;
    finish.prompt_bits = 2;
    of_request.OnFinish(finish);
  }
  const std::string page = Page();
  EXPECT_THAT(page, HasSubstr("bitdial_inter_token_latency_seconds_count{weight_bits=\"2\"} 2\n"));
  EXPECT_THAT(page, HasSubstr("bitdial_prompt_tokens_total{weight_bits=\"2\"} 7\n"));
  EXPECT_THAT(page, HasSubstr("bitdial_request_queue_time_seconds_count{weight_bits=\"2\"} 1\n"));
}

TEST_F(MetricsTest, LabelsStayBoundedAndEscaped) {
  model_.name = "a\"b\\c\nd";
  metrics_.Serve(model_);
  for (int i = 0; i < 1000; ++i) metrics_.CountRejected("REASON_" + std::to_string(i));
  const std::string page = Page();
  EXPECT_THAT(page, HasSubstr("model=\"a\\\"b\\\\c\\nd\""));
  EXPECT_THAT(page, HasSubstr("bitdial_requests_rejected_total{reason=\"OTHER\"} 938\n"));
  EXPECT_THAT(page, Not(HasSubstr("REASON_999")));
  metrics_.ForBits(-1).num_output_tokens = 1;  // no such label: nothing is written beyond
  metrics_.ForBits(1000).num_output_tokens = 1;
}

TEST_F(MetricsTest, APortInUseIsExplained) {
  auto metrics = std::make_shared<Metrics>();
  const auto first = MetricsServer::Start("127.0.0.1:0", metrics);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT((*first)->address(), ::testing::MatchesRegex("127\\.0\\.0\\.1:[1-9][0-9]*"));
  const auto second = MetricsServer::Start((*first)->address(), metrics);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(second.status().message()),
              ::testing::AllOf(HasSubstr((*first)->address()), HasSubstr("already in use")));
}

TEST(MetricsConfig, OtherMachinesAreLetInByTheirOwnKeyAlone) {
  ServerConfig config;
  config.metrics_listen = "0.0.0.0:9464";
  EXPECT_THAT(std::string(CheckConfig(config).message()), HasSubstr("--allow-remote-metrics"));
  config.allow_remote_metrics = true;
  EXPECT_TRUE(CheckConfig(config).ok());
  config.metrics_listen = "";
  EXPECT_THAT(std::string(CheckConfig(config).message()), HasSubstr("no effect"));
  config.metrics_listen = "9464";
  EXPECT_THAT(std::string(CheckConfig(config).message()), HasSubstr("metrics_listen \"9464\""));
}

}  // namespace
}  // namespace bitdial::server
