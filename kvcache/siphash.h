// SipHash-2-4 with 128 bits of output: a keyed hash for input that others choose.
// Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012, and the 128-bit variant
// of its reference implementation, whose test vectors siphash_test holds.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace bitdial::kvcache {

static_assert(std::endian::native == std::endian::little);

class SipHash {
 public:
  explicit SipHash(std::array<uint64_t, 2> key)
      : v_{0x736f6d6570736575u ^ key[0], 0x646f72616e646f6du ^ key[1] ^ 0xee,
           0x6c7967656e657261u ^ key[0], 0x7465646279746573u ^ key[1]} {}

  // The hash of num_bytes; called once.
  std::array<uint64_t, 2> operator()(const void* data, size_t num_bytes) {
    const auto* bytes = static_cast<const unsigned char*>(data);
    for (size_t i = 0; i + 8 <= num_bytes; i += 8) Compress(Load(bytes + i, 8));
    const size_t rest = num_bytes % 8;
    Compress((uint64_t{num_bytes & 0xff} << 56) | Load(bytes + num_bytes - rest, rest));
    v_[2] ^= 0xee;
    const uint64_t first = Finish();
    v_[1] ^= 0xdd;
    return {first, Finish()};
  }

 private:
  static uint64_t Load(const unsigned char* from, size_t num_bytes) {
    uint64_t word = 0;
    std::memcpy(&word, from, num_bytes);
    return word;
  }
  void Round() {
    v_[0] += v_[1], v_[1] = std::rotl(v_[1], 13) ^ v_[0], v_[0] = std::rotl(v_[0], 32);
    v_[2] += v_[3], v_[3] = std::rotl(v_[3], 16) ^ v_[2];
    v_[0] += v_[3], v_[3] = std::rotl(v_[3], 21) ^ v_[0];
    v_[2] += v_[1], v_[1] = std::rotl(v_[1], 17) ^ v_[2], v_[2] = std::rotl(v_[2], 32);
  }
  void Compress(uint64_t word) {
    v_[3] ^= word;
    Round(), Round();
    v_[0] ^= word;
  }
  uint64_t Finish() {
    for (int i = 0; i < 4; ++i) Round();
    return v_[0] ^ v_[1] ^ v_[2] ^ v_[3];
  }

  std::array<uint64_t, 4> v_;
};

}  // namespace bitdial::kvcache
