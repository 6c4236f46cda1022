// The small helpers behind messages: UTF-8 validity and nearest names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "kernels/core/nearest.h"
#include "quant/container/utf8.h"

namespace bitdial {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(IsUtf8Test, FollowsRfc3629) {
  for (const char* text : {"", "abc", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf",
                           "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "a\xc3\xa9z"}) {
    EXPECT_TRUE(quant::IsUtf8(text)) << text;
  }
  for (const char* text :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2z", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe2\x82",
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xff", "ab\xfe"}) {
    EXPECT_FALSE(quant::IsUtf8(text)) << text;
  }
  EXPECT_TRUE(quant::IsUtf8(std::string("a\0b", 3)));
}

TEST(NearestNamesTest, RanksByEditDistance) {
  const std::vector<std::string> names = {"listen", "threads", "max_tokens", "max_token"};
  EXPECT_THAT(NearestNames("max_tokns", names), ElementsAre("max_tokens", "max_token"));
  EXPECT_THAT(NearestNames("lisen", names), ElementsAre("listen"));
  EXPECT_THAT(NearestNames("zzz", names), IsEmpty());
  EXPECT_THAT(NearestNames("", names), IsEmpty());
  EXPECT_EQ(DidYouMean("tread", names), "; did you mean \"threads\"?");
  EXPECT_EQ(DidYouMean("zzz", names), "");
}

// A hostile name costs no more than a long honest one.
TEST(NearestNamesTest, BoundsItsWork) {
  const std::string huge(1 << 20, 'a');
  EXPECT_THAT(NearestNames(huge, std::vector<std::string>(100, huge), 1), ElementsAre(huge));
}

}  // namespace
}  // namespace bitdial
