// The plots: ticks, and SVG that a parser takes.
#include "server/cli/load/load_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "server/cli/load/svg_plot.h"

namespace bitdial::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// Every element is closed, and no number is missing.
void ExpectWholeSvg(const std::string& svg) {
  int depth = 0;
  for (size_t at = svg.find('<'); at != std::string::npos; at = svg.find('<', at + 1)) {
    const size_t end = svg.find('>', at);
    ASSERT_NE(end, std::string::npos);
    if (svg[at + 1] == '/') {
      --depth;
    } else if (svg[end - 1] != '/') {
      ++depth;
    }
    ASSERT_GE(depth, 0);
  }
  EXPECT_EQ(depth, 0);
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
}

TEST(Ticks, LinearOnesCoverTheRange) {
  EXPECT_THAT(LinearTicks(100), ElementsAre(0, 20, 40, 60, 80, 100));
  EXPECT_THAT(LinearTicks(1), ElementsAre(0, 0.2, 0.4, ::testing::DoubleEq(0.6), 0.8, 1));
  for (double max = 1e-6; max < 1e9; max *= 1.37) {
    const std::vector<double> ticks = LinearTicks(max);
    EXPECT_GE(ticks.back(), max * (1 - 1e-9)) << max;
    EXPECT_LE(ticks.size(), 7u) << max;
    EXPECT_GE(ticks.size(), 3u) << max;
  }
}

TEST(Ticks, LogarithmicOnesEncloseTheRange) {
  EXPECT_THAT(LogTicks(3, 4), ElementsAre(2, 5));
  EXPECT_THAT(LogTicks(1, 100), ElementsAre(1, 2, 5, 10, 20, 50, 100));
  EXPECT_THAT(LogTicks(0.3, 5000), ElementsAre(::testing::DoubleEq(0.1), 1, 10, 100, 1000, 10000));
  for (double min = 1e-9; min < 1e9; min *= 3.7) {
    for (double ratio = 1; ratio < 1e8; ratio *= 2.9) {
      const std::vector<double> ticks = LogTicks(min, min * ratio);
      EXPECT_LE(ticks.front(), min);
      EXPECT_GE(ticks.back(), min * ratio);
      EXPECT_LE(ticks.size(), 14u) << min << " " << ratio;
    }
  }
}

TEST(SvgPlot, EscapesText) {
  const std::string svg = PlotSvg("a < b & \"c\"", "x\x01y", {});
  ExpectWholeSvg(svg);
  EXPECT_THAT(svg, HasSubstr("a &lt; b &amp; &quot;c&quot;"));
  EXPECT_THAT(svg, HasSubstr("x y"));
}

TEST(SvgPlot, TakesPanelsWithoutPointsAndWithOne) {
  for (const bool is_log : {false, true}) {
    Panel panel;
    panel.is_log_x = is_log;
    ExpectWholeSvg(PlotSvg("t", "s", {panel}));
    panel.series.push_back({"one", "#000", {{3, 100}}});
    ExpectWholeSvg(PlotSvg("t", "s", {panel, panel, panel}));
    panel.series.push_back({"zero", "#000", {{0, 0}}});
    panel.markers.push_back({"SLO", 0});
    ExpectWholeSvg(PlotSvg("t", "s", {panel}));
  }
}

TEST(LoadPlot, ShowsEveryBitsAndTheSlo) {
  LoadResult result;
  result.window_end_s = 10;
  for (int i = 0; i < 500; ++i) {
    Outcome outcome;
    outcome.request = {i, i * 0.02, 8, 2, {BitsWish::Kind::kFixed, i % 2 == 0 ? 2 : 4}};
    outcome.messages = {{i * 0.02 + 0.1 + i * 1e-3, 1}, {i * 0.02 + 0.2 + i * 2e-3, 1}};
    outcome.end_s = outcome.messages.back().at_s;
    outcome.ending = i % 10 == 0 ? Ending::kRejected : Ending::kOk;
    result.outcomes.push_back(outcome);
  }
  const std::string svg = LoadPlotSvg(result, {0.2, 0.1}, "demo");
  ExpectWholeSvg(svg);
  for (const char* part : {"Time to first token", "Inter-token latency", "Output tokens",
                           ">2 bits<", ">4 bits<", ">SLO<", ">within SLO<", "tokens/s"}) {
    EXPECT_THAT(svg, HasSubstr(part));
  }
  EXPECT_LT(svg.size(), 100'000u);
}

TEST(LoadPlot, OfNothing) { ExpectWholeSvg(LoadPlotSvg({}, {}, "nothing")); }

}  // namespace
}  // namespace bitdial::server
