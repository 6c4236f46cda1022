#include "server/rpc/stop_matcher.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>

namespace bitdial::server {
namespace {

struct Outcome {
  std::string text;
  std::optional<std::string> match;
  bool operator==(const Outcome&) const = default;
};

Outcome RunMatcher(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopMatcher matcher(stops);
  Outcome outcome;
  for (const std::string& piece : pieces) outcome.text += matcher.Push(piece);
  outcome.text += matcher.Flush();
  if (matcher.matched()) outcome.match = matcher.match();
  return outcome;
}

// The definition, read off the whole text: the match that ends first, the longest of those that end
// there.
Outcome Oracle(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    const std::string* best = nullptr;
    for (const std::string& stop : stops) {
      if (stop.size() <= end && text.substr(end - stop.size(), stop.size()) == stop &&
          (best == nullptr || stop.size() > best->size())) {
        best = &stop;
      }
    }
    if (best != nullptr) return {text.substr(0, end - best->size()), *best};
  }
  return {text, std::nullopt};
}

TEST(StopMatcher, HoldsBackOnlyWhatMayBecomeAStop) {
  StopMatcher matcher({"</s>", "END"});
  EXPECT_EQ(matcher.Push("a<"), "a");
  EXPECT_EQ(matcher.Push("b"), "<b");
  EXPECT_EQ(matcher.Push("EN"), "");
  EXPECT_EQ(matcher.Push("EN"), "EN");
  EXPECT_EQ(matcher.Flush(), "EN");
  EXPECT_FALSE(matcher.matched());
}

TEST(StopMatcher, CutsAcrossPieces) {
  StopMatcher matcher({"stop"});
  EXPECT_EQ(matcher.Push("please s"), "please ");
  EXPECT_EQ(matcher.Push("to"), "");
  EXPECT_EQ(matcher.Push("p now"), "");
  ASSERT_TRUE(matcher.matched());
  EXPECT_EQ(matcher.match(), "stop");
  EXPECT_EQ(matcher.Push("more"), "");
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopMatcher, MatchThatEndsFirstWinsAndTheLongestOfThose) {
  EXPECT_EQ(RunMatcher({"ab", "xabc"}, {"xabc"}), (Outcome{"x", "ab"}));
  EXPECT_EQ(RunMatcher({"b", "ab"}, {"xab"}), (Outcome{"x", "ab"}));
}

TEST(StopMatcher, WithoutStopsEverythingPasses) {
  EXPECT_EQ(RunMatcher({}, {"a", "", "b"}), (Outcome{"ab", std::nullopt}));
}

// Small alphabets make matches, overlaps and near misses common.
TEST(StopMatcher, AnySplitGivesTheOraclesOutcome) {
  int num_matched = 0;
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    std::mt19937 random(seed);
    const auto word = [&](size_t max_size) {
      std::string text(1 + random() % max_size, ' ');
      for (char& c : text) c = static_cast<char>('a' + random() % 2);
      return text;
    };
    std::vector<std::string> stops(1 + random() % 3);
    for (std::string& stop : stops) stop = word(6);
    const std::string text = word(24);
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t size = std::min<size_t>(random() % 5, text.size() - at);  // empty pieces too
      pieces.push_back(text.substr(at, size));
      at += size;
    }
    const Outcome expected = Oracle(stops, text);
    num_matched += expected.match.has_value();
    ASSERT_EQ(RunMatcher(stops, pieces), expected) << "seed " << seed;
  }
  EXPECT_GT(num_matched, 500);  // the test looks at matches
  EXPECT_LT(num_matched, 2900);
}

}  // namespace
}  // namespace bitdial::server
