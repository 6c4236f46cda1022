#include "kernels/formats/bcq/i8_scales.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/core/check.h"
#include "kernels/core/dtype.h"
#include "kernels/core/round.h"
#include "kernels/formats/bcq/i8.h"
#include "kernels/formats/bcq/prepare.h"

namespace bitdial::kernels {
namespace {

using bcq::kI8MaxPlanes;
using bcq::kTileLanes;

constexpr uint32_t kNumUnits = 16;  // tried: up to 12% above the least

// The scales of 64 outputs in a group.
struct Lanes {
  float alpha[kI8MaxPlanes][kTileLanes];
  uint32_t least[kTileLanes];  // unit, bf16; 0 where all alphas are 0
  float best_error[kTileLanes];
  uint32_t best[kTileLanes];

  Lanes(const uint16_t* alphas, int bits) {
    for (int64_t lane = 0; lane < kTileLanes; ++lane) {
      float size = 0;
      for (int p = 0; p < bits; ++p) {
        alpha[p][lane] = F16ToF32(alphas[p * kTileLanes + lane]);
        size += std::abs(alpha[p][lane]);
      }
      // Rounding adds half to each of the planes.
      const float exact = size / (127.0f - 0.5f * static_cast<float>(bits));
      least[lane] = (std::bit_cast<uint32_t>(exact) + 0xffffu) >> 16;
      best[lane] = least[lane];
      best_error[lane] = std::numeric_limits<float>::infinity();
    }
  }

  void Try(uint32_t step, int bits) {
    for (int64_t lane = 0; lane < kTileLanes; ++lane) {
      const float unit = std::bit_cast<float>((least[lane] + step) << 16);
      const float inverse = 1.0f / unit;
      float error = 0;
      for (int p = 0; p < bits; ++p) {
        const float off = alpha[p][lane] - RoundEven(alpha[p][lane] * inverse) * unit;
        error += off * off;
      }
      const bool is_better = error < best_error[lane];
      best_error[lane] = is_better ? error : best_error[lane];
      best[lane] = is_better ? least[lane] + step : best[lane];
    }
  }
};

// alphas f16 [bits][64] -> alpha_i8 [bits][64], unit bf16 [64]
void RoundAlphas(const uint16_t* alphas, int bits, int8_t* alpha_i8, uint16_t* units) {
  Lanes lanes(alphas, bits);
  for (uint32_t step = 0; step < kNumUnits; ++step) lanes.Try(step, bits);
  for (int64_t lane = 0; lane < kTileLanes; ++lane) {
    const bool is_zero = lanes.least[lane] == 0;
    units[lane] = is_zero ? uint16_t{0} : static_cast<uint16_t>(lanes.best[lane]);
    const float inverse = is_zero ? 0.0f : 1.0f / bcq::I8Unit(units[lane]);
    for (int p = 0; p < bits; ++p) {
      alpha_i8[p * kTileLanes + lane] = static_cast<int8_t>(RoundEven(lanes.alpha[p][lane] * inverse));
    }
  }
}

}  // namespace

absl::Status AddI8Scales(BcqWeight& weight, ThreadPool& pool) {
  BITDIAL_CHECK(weight.max_bits <= kI8MaxPlanes);
  const bcq::Layout layout = bcq::LayoutOf(weight);
  const int64_t num_groups = layout.num_tiles * layout.num_groups;
  for (BcqScales& set : weight.scales) {
    const int64_t num_lanes = num_groups * kTileLanes;
    BITDIAL_ASSIGN_OR_RETURN(
        set.alpha_i8, Buffer::Allocate(Device::kCpu, static_cast<size_t>(num_lanes * set.bits)));
    BITDIAL_ASSIGN_OR_RETURN(set.unit,
                             Buffer::Allocate(Device::kCpu, static_cast<size_t>(num_lanes) * 2));
    pool.ParallelFor(layout.num_tiles, [&](int64_t tile) {
      for (int64_t group = 0; group < layout.num_groups; ++group) {
        const int64_t at = layout.AlphaOffset(tile, group, set.bits);
        RoundAlphas(set.alpha.As<uint16_t>() + at, set.bits, set.alpha_i8.As<int8_t>() + at,
                    set.unit.As<uint16_t>() + layout.BetaOffset(tile, group));
      }
    });
  }
  return absl::OkStatus();
}

}  // namespace bitdial::kernels
