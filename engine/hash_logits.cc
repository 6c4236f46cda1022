// FNV-1a with 64-bit words in place of bytes: two logits make a word (the first in the low half; an
// odd last one stands alone), hash = (hash ^ word) * kPrime, then the finalizer of SplitMix64, so
// that high bits reach low ones.
#include <bit>
#include <cstdint>

#include "engine/engine.h"

namespace bitdial::engine {

uint64_t HashLogits(const float* logits, int64_t vocab_size) {
  constexpr uint64_t kOffset = 0xcbf29ce484222325u, kPrime = 0x100000001b3u;
  uint64_t hash = kOffset;
  for (int64_t i = 0; i < vocab_size; i += 2) {
    const uint64_t low = std::bit_cast<uint32_t>(logits[i]);
    const uint64_t high = i + 1 < vocab_size ? std::bit_cast<uint32_t>(logits[i + 1]) : 0;
    hash = (hash ^ (low | (high << 32))) * kPrime;
    hash ^=
        hash >> 29;  // the prime moves differences up only: bring them down before the next word
  }
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
  return hash ^ (hash >> 31);
}

}  // namespace bitdial::engine
