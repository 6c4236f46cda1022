#include "engine/sampler/softmax.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

namespace bitdial::engine {
namespace {

// Sums and maxima run in this many independent lanes, so that the compiler may vectorize without
// reordering.
constexpr int64_t kLanes = 16;
constexpr int64_t kBlock = 1024;

// exp(x) for x <= 0: 2^n * p(r), x = n ln 2 + r, |r| <= ln 2 / 2; the polynomial is Cephes' expf.
inline float ExpOfNonPositive(float x) {
  const float clamped = x < -87.0f ? -87.0f : x;
  constexpr float kRound =
      12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const float shifted = clamped * 1.44269504088896341f + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const uint32_t exponent = (std::bit_cast<uint32_t>(shifted) + 127u) << 23;
  const float value = p * std::bit_cast<float>(exponent);
  return x < -87.0f ? 0.0f : value;
}

double SumExp(const float* row, int64_t size, float max) {
  double sum = 0;
  for (int64_t block = 0; block < size; block += kBlock) {
    const int64_t end = std::min(size, block + kBlock);
    std::array<float, kLanes> lanes = {};
    int64_t i = block;
    for (; i + kLanes <= end; i += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        lanes[static_cast<size_t>(lane)] += ExpOfNonPositive(row[i + lane] - max);
      }
    }
    for (; i < end; ++i) lanes[0] += ExpOfNonPositive(row[i] - max);
    for (float lane : lanes) sum += static_cast<double>(lane);
  }
  return sum;
}

}  // namespace

bool IsFinite(const float* row, int64_t size) {
  uint32_t num_bad = 0;
  for (int64_t i = 0; i < size; ++i) {
    num_bad |=
        static_cast<uint32_t>((std::bit_cast<uint32_t>(row[i]) & 0x7f800000u) == 0x7f800000u);
  }
  return num_bad == 0;
}

float MaxOf(const float* row, int64_t size) {
  std::array<float, kLanes> lanes;
  lanes.fill(row[0]);
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      float& max = lanes[static_cast<size_t>(lane)];
      max = row[i + lane] > max ? row[i + lane] : max;
    }
  }
  for (; i < size; ++i) lanes[0] = std::max(lanes[0], row[i]);
  return *std::max_element(lanes.begin(), lanes.end());
}

double LogSumExp(const float* row, int64_t size) {
  const float max = MaxOf(row, size);
  return static_cast<double>(max) + std::log(SumExp(row, size, max));
}

void SoftmaxWeights(const float* row, int64_t size, float max, float temperature, float* weights) {
  for (int64_t i = 0; i < size; ++i) weights[i] = ExpOfNonPositive((row[i] - max) / temperature);
}

std::vector<TokenLogprob> TopLogprobs(const float* row, int64_t size, int32_t n,
                                      double log_sum_exp) {
  std::vector<TokenLogprob> top;  // holds raw logits until the end
  const auto capacity = static_cast<size_t>(std::clamp<int64_t>(n, 0, size));
  if (capacity == 0) return top;
  top.reserve(capacity + 1);
  for (int64_t i = 0; i < size; ++i) {
    if (top.size() == capacity && row[i] <= top.back().logprob) continue;
    // Behind its equals: they have lower ids.
    const auto place = std::upper_bound(
        top.begin(), top.end(), row[i],
        [](float value, const TokenLogprob& other) { return value > other.logprob; });
    top.insert(place, {static_cast<int32_t>(i), row[i]});
    if (top.size() > capacity) top.pop_back();
  }
  for (TokenLogprob& token : top) {
    token.logprob = static_cast<float>(static_cast<double>(token.logprob) - log_sum_exp);
  }
  return top;
}

}  // namespace bitdial::engine
