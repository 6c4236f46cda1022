// The dial of auto bits: down under load, up when it has gone, and no swinging in between.
#include "engine/scheduler/bits_controller.h"

#include <gtest/gtest.h>

#include <random>

namespace bitdial::engine {
namespace {

using std::chrono::milliseconds;

constexpr Load kIdle{.max_waiting = 100};
constexpr Load kBusy{.num_waiting = 3, .max_waiting = 100, .oldest_wait_s = 0.1};

class Dial {
 public:
  // Runs `load` for `duration` in steps of 50 ms; returns the dial at the end.
  int Run(const Load& load, milliseconds duration) {
    for (const auto end = now_ + duration; now_ < end; now_ += milliseconds(50)) {
      const int before = controller_.dial();
      controller_.Update(now_, load);
      num_turns_ += controller_.dial() != before ? 1 : 0;
    }
    return controller_.dial();
  }
  int num_turns() const { return num_turns_; }
  const BitsController& controller() const { return controller_; }

 private:
  BitsController controller_{{2, 3, 4}};
  Clock::time_point now_ = Clock::time_point{} + std::chrono::hours(1);
  int num_turns_ = 0;
};

TEST(BitsController, StartsAtTheMostAndStaysThereWithoutLoad) {
  Dial dial;
  EXPECT_EQ(dial.Run(kIdle, milliseconds(10'000)), 4);
  EXPECT_EQ(dial.num_turns(), 0);
}

TEST(BitsController, GoesDownANotchAtATimeAndUpAgain) {
  Dial dial;
  EXPECT_EQ(dial.Run(kBusy, milliseconds(200)), 4);
  EXPECT_EQ(dial.Run(kBusy, milliseconds(150)), 3);
  EXPECT_EQ(dial.Run(kBusy, milliseconds(300)), 2);
  EXPECT_EQ(dial.Run(kBusy, milliseconds(5000)), 2);
  EXPECT_EQ(dial.controller().BitsFor(3), 3);  // the floor is never passed
  EXPECT_EQ(dial.Run(kIdle, milliseconds(1900)), 2);
  EXPECT_EQ(dial.Run(kIdle, milliseconds(300)), 3);
  EXPECT_EQ(dial.Run(kIdle, milliseconds(2100)), 4);
}

TEST(BitsController, AMomentOfLoadTurnsNothing) {
  Dial dial;
  for (int i = 0; i < 50; ++i) {
    dial.Run(kBusy, milliseconds(200));
    dial.Run(kIdle, milliseconds(50));
  }
  EXPECT_EQ(dial.num_turns(), 0);
}

TEST(BitsController, AQueueHalfFullTurnsItDownAtOnce) {
  Dial dial;
  EXPECT_EQ(dial.Run({.num_waiting = 50, .max_waiting = 100}, milliseconds(50)), 2);
  Dial by_tokens;
  EXPECT_EQ(by_tokens.Run({.num_waiting = 1,
                           .max_waiting = 100,
                           .num_waiting_tokens = 500,
                           .max_waiting_tokens = 1000},
                          milliseconds(50)),
            2);
}

TEST(BitsController, MissedTargetsCountAsLoad) {
  Dial slow, late, fine;
  EXPECT_EQ(slow.Run({.max_waiting = 100, .step_s = 0.2, .least_tpot_s = 0.1}, milliseconds(400)),
            3);
  EXPECT_EQ(
      late.Run({.max_waiting = 100, .oldest_wait_s = 0.6, .least_ttft_s = 1}, milliseconds(400)),
      3);
  EXPECT_EQ(fine.Run({.max_waiting = 100,
                      .oldest_wait_s = 0.4,
                      .step_s = 0.2,
                      .least_ttft_s = 1,
                      .least_tpot_s = 0.3},
                     milliseconds(5000)),
            4);
}

// A load that 3 bits carry and 4 do not: the dial would swing between them for ever; it does so
// less and less.
TEST(BitsController, ALoadBetweenTwoLevelsDoesNotMakeItSwing) {
  Dial dial;
  for (int i = 0; i < 12'000; ++i)
    dial.Run(dial.controller().dial() == 4 ? kBusy : kIdle, milliseconds(50));  // 600 s
  EXPECT_LE(dial.num_turns(), 40);
  EXPECT_GE(dial.num_turns(), 2);
}

TEST(BitsController, IdleTimeCounts) {
  BitsController controller({2, 3, 4});
  auto now = Clock::time_point{} + std::chrono::hours(1);
  controller.Update(now, {.num_waiting = 50, .max_waiting = 100});
  controller.Update(now + milliseconds(50), kIdle);  // the last step; then nothing
  ASSERT_EQ(controller.dial(), 2);
  controller.CatchUp(now + milliseconds(1000));
  EXPECT_EQ(controller.dial(), 2);
  controller.CatchUp(now + milliseconds(2100));
  EXPECT_EQ(controller.dial(), 3);
  controller.CatchUp(now + std::chrono::hours(9));
  EXPECT_EQ(controller.dial(), 4);
}

TEST(BitsController, ATargetMissedInTheLastStepBeforeIdlenessDoesNotFreezeIt) {
  BitsController controller({2, 3, 4});
  const Load slow{.max_waiting = 100, .step_s = 0.2, .least_tpot_s = 0.1};
  auto now = Clock::time_point{} + std::chrono::hours(1);
  for (int i = 0; i < 20; ++i) controller.Update(now += milliseconds(50), slow);
  ASSERT_EQ(controller.dial(), 2);
  controller.CatchUp(now + milliseconds(1000));
  EXPECT_EQ(controller.dial(), 2);
  controller.CatchUp(now + std::chrono::minutes(1));
  EXPECT_EQ(controller.dial(), 4);
}

TEST(BitsController, RandomLoadNeverLeavesTheModelsBits) {
  std::mt19937 random(5);
  Dial dial;
  for (int i = 0; i < 5000; ++i) {
    const int bits = dial.Run(random() % 2 == 0 ? kBusy : kIdle, milliseconds(random() % 3000));
    ASSERT_TRUE(bits >= 2 && bits <= 4);
  }
}

}  // namespace
}  // namespace bitdial::engine
