#include "server/rpc/active_requests.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace bitdial::server {
namespace {

using ::testing::ElementsAre;

class ActiveRequestsTest : public ::testing::Test {
 protected:
  static Principal Who(const std::string& name, int64_t max_concurrent_requests = 0) {
    return {.name = name, .scopes = {}, .max_concurrent_requests = max_concurrent_requests};
  }
  absl::StatusOr<std::unique_ptr<ActiveRequest>> Add(const std::string& id,
                                                     const std::string& client_id = "",
                                                     const Principal& who = Who("a")) {
    return active_.Add({.request_id = id, .client_request_id = client_id, .principal = who.name},
                       who, [this, id](const absl::Status& status) {
                         EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
                         cancelled_.push_back(id);
                       });
  }
  ActiveRequests active_{4};
  std::vector<std::string> cancelled_;
};

TEST_F(ActiveRequestsTest, CancelByEitherNameWithinThePrincipal) {
  const auto one = Add("s-1", "mine"), two = Add("s-2"), other = Add("s-3", "mine", Who("b"));
  ASSERT_TRUE(one.ok() && two.ok() && other.ok());
  EXPECT_EQ(active_.Cancel("s-3", "a"), 0);
  EXPECT_EQ(active_.Cancel("nobody", "a"), 0);
  EXPECT_EQ(active_.Cancel("", "a"), 0);
  EXPECT_EQ(active_.Cancel("mine", "a"), 1);
  EXPECT_EQ(active_.Cancel("s-2", "a"), 1);
  EXPECT_THAT(cancelled_, ElementsAre("s-1", "s-2"));
  EXPECT_EQ(active_.Cancel("mine", std::nullopt), 2);  // an admin: everybody's
}

// CVE-2026-105755: state that is keyed by an id of the caller's choice. Here such an id is a label:
// it meets neither another caller's label nor an id of the server's, and it frees nothing but its
// own.
TEST_F(ActiveRequestsTest, Cve2026105755CallerChosenIdsAreLabels) {
  auto mine = Add("s-1", "s-2");
  auto others = Add("s-2", "s-2", Who("b"));
  ASSERT_TRUE(mine.ok() && others.ok());
  EXPECT_EQ(active_.size(), 2);
  EXPECT_EQ(active_.Cancel("s-2", "a"), 1);
  EXPECT_THAT(cancelled_, ElementsAre("s-1"));
  mine->reset();
  EXPECT_EQ(active_.size(), 1);
  EXPECT_EQ(active_.Cancel("s-2", "b"), 1);
  EXPECT_EQ(Add("s-4", "s-2", Who("b")).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(ActiveRequestsTest, ANameIsFreeAgainWhenItsRequestEnds) {
  auto one = Add("s-1", "x");
  ASSERT_TRUE(one.ok());
  EXPECT_EQ(Add("s-2", "x").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(active_.size(), 1);  // the refused one left nothing, and took nothing of the first
  EXPECT_EQ(active_.Cancel("x", "a"), 1);
  one->reset();
  EXPECT_TRUE(Add("s-3", "x").ok());
  EXPECT_EQ(active_.size(), 0);
}

TEST_F(ActiveRequestsTest, LimitsOfAPrincipalAndOfAll) {
  const auto one = Add("s-1", "", Who("a", 1));
  EXPECT_EQ(Add("s-2", "", Who("a", 1)).status().code(), absl::StatusCode::kResourceExhausted);
  const auto two = Add("s-3", "", Who("b", 1)), three = Add("s-4", "", Who("c")),
             four = Add("s-5", "", Who("c"));
  ASSERT_TRUE(one.ok() && two.ok() && three.ok() && four.ok());
  const absl::Status full = Add("s-6", "", Who("c")).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), ::testing::HasSubstr("max_active_requests"));
}

TEST_F(ActiveRequestsTest, ListsWhatIsOpen) {
  const auto one = Add("s-1", "x"), two = Add("s-2");
  ASSERT_TRUE(one.ok() && two.ok());
  (*one)->CountToken();
  const auto list = active_.List(10);
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].facts.client_request_id, "x");
  EXPECT_EQ(list[0].num_tokens, 1);
  EXPECT_EQ(active_.List(1).size(), 1u);
  EXPECT_TRUE(active_.List(0).empty());
}

// Requests come, go and are cancelled from many threads; nothing is left.
TEST_F(ActiveRequestsTest, FromManyThreads) {
  std::vector<std::thread> threads;
  std::atomic<int> num_cancelled{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t, &num_cancelled] {
      for (int i = 0; i < 500; ++i) {
        const Principal who = Who(std::to_string(t % 2));
        const auto request = active_.Add({.request_id = fmt::format("{}-{}", t, i),
                                          .client_request_id = std::to_string(i % 3),
                                          .principal = who.name},
                                         who, [&](const absl::Status&) { ++num_cancelled; });
        active_.Cancel(std::to_string(i % 3), who.name);
        active_.List(10);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(num_cancelled, 0);
  EXPECT_EQ(active_.size(), 0);
}

}  // namespace
}  // namespace bitdial::server
