#include "server/rpc/trace_context.h"

#include <gtest/gtest.h>

namespace bitdial::server {
namespace {

const std::string kTrace = "4bf92f3577b34da6a3ce929d0e0e4736";
const std::string kRest = "-00f067aa0ba902b7-01";

TEST(TraceIdOf, TakesWhatTheStandardAllows) {
  EXPECT_EQ(TraceIdOf("00-" + kTrace + kRest), kTrace);
  EXPECT_EQ(TraceIdOf("00-" + kTrace + "-00f067aa0ba902b7-ff"), kTrace);
  EXPECT_EQ(TraceIdOf("fe-" + kTrace + kRest), kTrace);            // a later version
  EXPECT_EQ(TraceIdOf("01-" + kTrace + kRest + "-more"), kTrace);  // with more at its end
}

TEST(TraceIdOf, IgnoresEverythingElse) {
  const std::string good = "00-" + kTrace + kRest;
  const std::string cases[] = {"",
                               "00",
                               "ff-" + kTrace + kRest,  // a version that is none
                               "0G-" + kTrace + kRest,  // no hexadecimal
                               good + "-more",          // version 00 has no more
                               "01-" + kTrace + kRest + "more",
                               good.substr(0, good.size() - 1),
                               " " + good,
                               good + " ",
                               good + "\n",
                               "00-" + std::string(32, '0') + kRest,
                               "00-" + kTrace + "-0000000000000000-01",
                               "00-4BF92F3577B34DA6A3CE929D0E0E4736" + kRest,  // upper case
                               "00-4bf92f3577b34da6a3ce929d0e0e47\"6" + kRest,
                               "00-4bf92f3577b34da6a3ce929d0e0e47\n6" + kRest,
                               "00_" + kTrace + kRest,
                               "00-" + kTrace + "_00f067aa0ba902b7-01",
                               "00-" + kTrace + "-00f067aa0ba902b7_01",
                               "00-" + kTrace + "-00f067aa0ba902b7-0x",
                               std::string(55, '-'),
                               std::string(4096, '0')};
  for (const std::string& text : cases) EXPECT_EQ(TraceIdOf(text), "") << text;
}

}  // namespace
}  // namespace bitdial::server
