#include "server/security/rate_limiter.h"

#include <gtest/gtest.h>

#include <string>

namespace bitdial::server {
namespace {

using namespace std::chrono_literals;

class RateLimiterTest : public ::testing::Test {
 protected:
  bool Take(const std::string& name, int64_t per_minute) {
    return !limiter_.Take(name, per_minute, now_).has_value();
  }
  RateLimiter limiter_;
  RateLimiter::Clock::time_point now_{1h};
};

TEST_F(RateLimiterTest, AMinutesWorthAtOnceThenEvenly) {
  for (int i = 0; i < 60; ++i) EXPECT_TRUE(Take("a", 60)) << i;
  const auto wait = limiter_.Take("a", 60, now_);
  ASSERT_TRUE(wait.has_value());
  EXPECT_EQ(*wait, 1000ms);
  now_ += 999ms;
  EXPECT_FALSE(Take("a", 60));
  now_ += 1ms;
  EXPECT_TRUE(Take("a", 60));
  EXPECT_FALSE(Take("a", 60));
  now_ += 1h;  // never more than a minute's worth
  for (int i = 0; i < 60; ++i) EXPECT_TRUE(Take("a", 60)) << i;
  EXPECT_FALSE(Take("a", 60));
}

TEST_F(RateLimiterTest, CallersDoNotTakeFromEachOther) {
  EXPECT_TRUE(Take("a", 1));
  EXPECT_FALSE(Take("a", 1));
  EXPECT_TRUE(Take("b", 1));
}

TEST_F(RateLimiterTest, ALimitThatChangesActsAtOnce) {
  EXPECT_TRUE(Take("a", 100));
  EXPECT_TRUE(Take("a", 1));  // 99 were left; now at most 1
  EXPECT_FALSE(Take("a", 1));
  now_ += 600ms;
  EXPECT_TRUE(Take("a", 100));
}

TEST_F(RateLimiterTest, AClockThatStandsOrGoesBackGivesNothing) {
  EXPECT_TRUE(Take("a", 1));
  now_ -= 10min;
  EXPECT_FALSE(Take("a", 1));
  now_ += 10min;
  EXPECT_FALSE(Take("a", 1));
}

// Names of key files of years: those that were not used for a minute are forgotten, and lose
// nothing by it.
TEST_F(RateLimiterTest, ManyNames) {
  for (int i = 0; i < 20'000; ++i) {
    now_ += 10ms;
    EXPECT_TRUE(Take("n" + std::to_string(i), 1));
    EXPECT_FALSE(Take("n" + std::to_string(i), 1));
  }
}

}  // namespace
}  // namespace bitdial::server
