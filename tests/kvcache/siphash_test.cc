// SipHash-2-4-128 against the vectors of its authors' reference implementation (vectors.h,
// vectors_sip128): key 00 01 .. 0f, input the first n bytes of 00 01 02 ...
#include "kvcache/siphash.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace bitdial::kvcache {
namespace {

TEST(SipHash, KnownAnswers) {
  const std::array<uint64_t, 2> key = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
  std::vector<unsigned char> input(64);
  std::iota(input.begin(), input.end(), static_cast<unsigned char>(0));
  const auto hash = [&](size_t num_bytes) { return SipHash(key)(input.data(), num_bytes); };
  using Words = std::array<uint64_t, 2>;
  EXPECT_EQ(hash(0), (Words{0xe6a825ba047f81a3u, 0x930255c71472f66du}));
  EXPECT_EQ(hash(1), (Words{0x44af996bd8c187dau, 0x45fc229b11597634u}));
  EXPECT_EQ(hash(2), (Words{0xc75da4a48d227781u, 0xe4ff0af6de8ba3fcu}));
  EXPECT_EQ(hash(3), (Words{0x4ea967520cb6709cu, 0x51ed8529b0b6335fu}));
}

TEST(SipHash, EveryByteAndTheLengthCount) {
  const std::array<uint64_t, 2> key = {1, 2};
  std::vector<unsigned char> input(40, 0);
  std::vector<std::array<uint64_t, 2>> seen;
  for (size_t n = 0; n <= input.size(); ++n) seen.push_back(SipHash(key)(input.data(), n));
  for (unsigned char& byte : input) {
    byte = 1;
    seen.push_back(SipHash(key)(input.data(), input.size()));
    byte = 0;
  }
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(std::adjacent_find(seen.begin(), seen.end()), seen.end());
}

}  // namespace
}  // namespace bitdial::kvcache
