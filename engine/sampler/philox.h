// Philox4x32-10: random numbers as a pure function of (key, counter), so that a draw depends on
// nothing but its own coordinates. Source: Salmon et al., "Parallel random numbers: as easy as 1,
// 2, 3", SC'11; the known-answer vectors of their Random123 library are in philox_test.
#pragma once

#include <array>
#include <cstdint>

namespace bitdial::engine {

using PhiloxCounter = std::array<uint32_t, 4>;
using PhiloxKey = std::array<uint32_t, 2>;

constexpr PhiloxCounter Philox4x32(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(product0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

// The draw of (seed, choice, position): uniform in [0, 1), 53 bits. choice is the index among a
// request's choices, position the index of the sampled token in its
// sequence.
constexpr double UniformDraw(uint64_t seed, uint32_t choice, uint32_t position) {
  const PhiloxCounter bits = Philox4x32(
      {position, choice, 0, 0}, {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const uint64_t word = (uint64_t{bits[0]} << 32) | bits[1];
  return static_cast<double>(word >> 11) * 0x1p-53;
}

}  // namespace bitdial::engine
