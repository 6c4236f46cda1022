#include "server/config/address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bitdial::server {
namespace {

using ::testing::HasSubstr;

TEST(ParseAddress, KnowsWhatStaysOnThisMachine) {
  for (const char* text : {"127.0.0.1:50051", "127.9.9.9:1", "localhost:0", "[::1]:80"}) {
    ASSERT_TRUE(ParseAddress(text, "listen").ok()) << text;
    EXPECT_TRUE(ParseAddress(text, "listen")->is_loopback) << text;
  }
  for (const char* text : {"0.0.0.0:1", "192.168.1.1:1", "[::]:1", "example.com:1", "128.0.0.1:1",
                           "[::ffff:1.2.3.4]:1", "[fe80::1%eth0]:1", "my_host-1:1"}) {
    ASSERT_TRUE(ParseAddress(text, "listen").ok()) << text;
    EXPECT_FALSE(ParseAddress(text, "listen")->is_loopback) << text;
  }
  EXPECT_EQ(ParseAddress("[::1]:80", "listen")->host, "::1");
  EXPECT_EQ(ParseAddress("[::1]:80", "listen")->port, 80);
}

TEST(ParseAddress, RefusesWhatIsNone) {
  for (const char* text : {"", ":", ":1", "127.0.0.1", "::1:80", "a:b:1", "[]:1", "[a]:1",
                           "[::1:80", "http://a:1", "a b:1", "a/b:1", "dns:///a:1"}) {
    EXPECT_THAT(std::string(ParseAddress(text, "listen").status().message()),
                HasSubstr("is no ADDR:PORT"))
        << text;
  }
  // A resolver would see a loopback address here, a log line another host.
  for (const std::string host : {std::string("127.0.0.1\0.example.com", 22),
                                 std::string("[::1\0]", 6), std::string("[::1%a\nb]")}) {
    EXPECT_FALSE(ParseAddress(host + ":1", "listen").ok()) << host;
  }
  for (const char* text : {"127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "a:1x", "a: 1", "a:+1",
                           "unix:/a", "a:99999999999"}) {
    EXPECT_THAT(std::string(ParseAddress(text, "listen").status().message()),
                HasSubstr("expected a whole number in [0, 65535]"))
        << text;
  }
}

TEST(ParseAddress, AClientNeedsAPort) {
  EXPECT_TRUE(ParseAddress("localhost:1", "--server", 1).ok());
  EXPECT_EQ(std::string(ParseAddress("localhost:0", "--server", 1).status().message()),
            "--server \"localhost:0\": the port is \"0\", expected a whole number in [1, 65535]");
}

}  // namespace
}  // namespace bitdial::server
