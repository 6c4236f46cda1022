#include "server/cli/end_watchdog.h"

#include <gtest/gtest.h>

#include "server/cli/command.h"

namespace bitdial::server {
namespace {

using namespace std::chrono_literals;

TEST(EndWatchdogDeathTest, EndsAProcessThatHangs) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const EndWatchdog watchdog(50ms);
        for (;;) std::this_thread::sleep_for(1s);
      },
      ::testing::ExitedWithCode(kExitFailure), "not at its end 0.05 s after it was told to stop");
}

TEST(EndWatchdog, LeavesAProcessAloneThatEndsInTime) {
  { const EndWatchdog watchdog(1h); }
  SUCCEED();
}

}  // namespace
}  // namespace bitdial::server
