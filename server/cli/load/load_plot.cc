#include "server/cli/load/load_plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "server/cli/load/svg_plot.h"

namespace bitdial::server {
namespace {

constexpr std::array<const char*, 6> kColors = {"#1f6f8b", "#d1495b", "#edae49",
                                                "#66a182", "#8d6a9f", "#2e4057"};
constexpr char kGray[] = "#9a9a9a";
constexpr int kCurvePoints = 200;
constexpr int kMaxBins = 60;

using SamplesOf = std::function<void(const Outcome&, std::vector<double>&)>;

// What share of the samples is at most x: drawn through ranks, evenly spaced and the last hundred
// of them.
std::vector<Point> CumulativeCurve(std::vector<double> samples_s) {
  std::sort(samples_s.begin(), samples_s.end());
  std::vector<Point> points;
  size_t last_rank = 0;
  for (int i = 1; i <= 2 * kCurvePoints; ++i) {
    const double share = i <= kCurvePoints ? 0.99 * i / kCurvePoints
                                           : 0.99 + 0.01 * (i - kCurvePoints) / kCurvePoints;
    const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(samples_s.size())));
    if (rank == last_rank || rank == 0 || rank > samples_s.size()) continue;
    last_rank = rank;
    points.push_back({1000 * samples_s[rank - 1],
                      100 * static_cast<double>(rank) / static_cast<double>(samples_s.size())});
  }
  return points;
}

Panel LatencyPanel(const LoadResult& result, const std::string& title, const SamplesOf& samples_of,
                   std::optional<double> slo_s) {
  std::map<std::string, std::vector<double>> by_bits;
  for (const Outcome& outcome : result.outcomes) {
    if (outcome.request.index < result.first_counted || outcome.ending != Ending::kOk) continue;
    samples_of(outcome, by_bits[ToText(outcome.request.bits)]);
  }
  Panel panel{.title = title,
              .x_label = "ms",
              .y_label = "% at most this",
              .is_log_x = true,
              .y_max = 100,
              .series = {},
              .markers = {}};
  for (auto& [bits, samples] : by_bits) {
    const bool is_number = std::isdigit(static_cast<unsigned char>(bits.front()));
    panel.series.push_back({is_number ? bits + " bits" : bits,
                            kColors[panel.series.size() % kColors.size()],
                            CumulativeCurve(std::move(samples))});
  }
  if (slo_s) panel.markers.push_back({"SLO", 1000 * *slo_s});
  return panel;
}

// Counts per second in equal bins over the whole run.
class Rate {
 public:
  Rate(double end_s)
      : width_s_(std::max(end_s, 1e-3) / kMaxBins), sums_(static_cast<size_t>(kMaxBins), 0.0) {}
  void Add(double at_s, double amount) {
    const double bin = std::clamp(at_s / width_s_, 0.0, kMaxBins - 1.0);
    sums_[static_cast<size_t>(bin)] += amount;
  }
  // Steps.
  std::vector<Point> Curve() const {
    std::vector<Point> points;
    for (size_t i = 0; i < sums_.size(); ++i) {
      const double begin = static_cast<double>(i) * width_s_;
      points.push_back({begin, sums_[i] / width_s_});
      points.push_back({begin + width_s_, sums_[i] / width_s_});
    }
    return points;
  }

 private:
  double width_s_;
  std::vector<double> sums_;
};

double EndOf(const LoadResult& result) {
  double end_s = result.window_end_s;
  for (const Outcome& outcome : result.outcomes) end_s = std::max(end_s, outcome.end_s);
  return end_s;
}

Panel TokensPanel(const LoadResult& result) {
  Rate tokens(EndOf(result));
  for (const Outcome& outcome : result.outcomes) {
    for (const TokenMessage& message : outcome.messages) {
      tokens.Add(message.at_s, message.num_tokens);
    }
  }
  return {.title = "Output tokens",
          .x_label = "s",
          .y_label = "tokens/s",
          .is_log_x = false,
          .y_max = 0,
          .series = {{"", kColors[0], tokens.Curve()}},
          .markers = {}};
}

Panel RequestsPanel(const LoadResult& result, const Slo& slo) {
  const double end_s = EndOf(result);
  Rate due(end_s), ok(end_s), good(end_s), refused(end_s);
  bool has_refusals = false;
  for (const Outcome& outcome : result.outcomes) {
    due.Add(outcome.request.arrival_s, 1);
    if (outcome.ending == Ending::kOk) ok.Add(outcome.end_s, 1);
    if (IsGood(outcome, slo)) good.Add(outcome.end_s, 1);
    if (outcome.ending != Ending::kRejected) continue;
    refused.Add(outcome.end_s, 1);
    has_refusals = true;
  }
  Panel panel{.title = "Requests",
              .x_label = "s",
              .y_label = "requests/s",
              .is_log_x = false,
              .y_max = 0,
              .series = {{"due", kGray, due.Curve()}, {"answered", kColors[0], ok.Curve()}},
              .markers = {}};
  if (has_refusals) panel.series.push_back({"rejected", kColors[1], refused.Curve()});
  if (slo.any()) panel.series.push_back({"within SLO", kColors[3], good.Curve()});
  return panel;
}

}  // namespace

std::string LoadPlotSvg(const LoadResult& result, const Slo& slo, const std::string& subtitle) {
  const auto ttft = [](const Outcome& outcome, std::vector<double>& samples) {
    samples.push_back(outcome.TtftS());
  };
  const auto inter_token = [](const Outcome& outcome, std::vector<double>& samples) {
    for (size_t i = 1; i < outcome.messages.size(); ++i) {
      const TokenMessage& message = outcome.messages[i];
      samples.insert(samples.end(), static_cast<size_t>(message.num_tokens),
                     (message.at_s - outcome.messages[i - 1].at_s) / message.num_tokens);
    }
  };
  return PlotSvg("bitdial bench serve", subtitle,
                 {LatencyPanel(result, "Time to first token", ttft, slo.ttft_s),
                  LatencyPanel(result, "Inter-token latency", inter_token, slo.tpot_s),
                  TokensPanel(result), RequestsPanel(result, slo)});
}

}  // namespace bitdial::server
