#include "kernels/formats/bcq/linear_ref.h"

#include <algorithm>
#include <atomic>

#include "kernels/core/check.h"
#include "kernels/formats/bcq/prepare.h"

namespace bitdial::kernels::bcq {
namespace {

constexpr int64_t kRowBlock = 16;  // rows that share one pass over a tile's planes

// One tile of 64 outputs for up to 16 rows: y = sum_g { sum_p alpha * (sum_i s x) + beta * sum_i x
// } in double. Returns the bytes of codes read.
int64_t RunTile(const LinearArgs& args, const Layout& layout, int64_t tile, int64_t first,
                int64_t num_rows) {
  const BcqWeight& weight = *args.bcq;
  const int64_t blocks_per_group = weight.group_size / kBlockInputs;
  ScaleView rows[kRowBlock];
  int max_bits = 0;
  for (int64_t r = 0; r < num_rows; ++r) {
    rows[r] = ViewOf(weight.ScalesFor(args.bits[first + r]));
    max_bits = std::max(max_bits, rows[r].bits);
  }
  double y[kRowBlock][kTileLanes] = {};
  int64_t num_words = 0;
  for (int64_t group = 0; group < layout.num_groups; ++group) {
    for (int plane = 0; plane < max_bits; ++plane) {
      double sum[kRowBlock][kTileLanes] = {};
      for (int64_t block = group * blocks_per_group; block < (group + 1) * blocks_per_group;
           ++block) {
        const uint32_t* const codes =
            weight.codes.As<uint32_t>() + layout.CodeOffset(tile, plane, block);
        num_words += kTileLanes;
        for (int64_t r = 0; r < num_rows; ++r) {
          if (rows[r].bits <= plane) continue;
          const float* const x = args.x.Row(first + r) + block * kBlockInputs;
          for (int64_t t = 0; t < kBlockInputs; ++t) {
            const double plus = x[t];
            for (int64_t lane = 0; lane < kTileLanes; ++lane) {
              sum[r][lane] += (codes[lane] >> t & 1u) != 0 ? plus : -plus;
            }
          }
        }
      }
      for (int64_t r = 0; r < num_rows; ++r) {
        if (rows[r].bits <= plane) continue;
        const uint16_t* const alpha =
            rows[r].alpha + layout.AlphaOffset(tile, group, rows[r].bits) + plane * kTileLanes;
        for (int64_t lane = 0; lane < kTileLanes; ++lane)
          y[r][lane] += F16ToF32(alpha[lane]) * sum[r][lane];
      }
    }
    for (int64_t r = 0; r < num_rows; ++r) {
      if (rows[r].beta == nullptr) continue;
      const float* const x = args.x.Row(first + r) + group * weight.group_size;
      double x_sum = 0;
      for (int64_t i = 0; i < weight.group_size; ++i) x_sum += x[i];
      const uint16_t* const beta = rows[r].beta + layout.BetaOffset(tile, group);
      for (int64_t lane = 0; lane < kTileLanes; ++lane) y[r][lane] += F16ToF32(beta[lane]) * x_sum;
    }
  }
  const int64_t begin = tile * kTileLanes;
  const int64_t lanes = std::min(kTileLanes, weight.out_features - begin);
  for (int64_t r = 0; r < num_rows; ++r) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const double bias = args.bias != nullptr ? args.bias[begin + lane] : 0;
      args.y.Row(first + r)[begin + lane] = static_cast<float>(y[r][lane] + bias);
    }
  }
  return num_words * static_cast<int64_t>(sizeof(uint32_t));
}

}  // namespace

void LinearRef(const LinearArgs& args, Stream& stream) noexcept {
  const Layout layout = LayoutOf(*args.bcq);
  std::atomic<int64_t> code_bytes{0};
  stream.pool().ParallelFor(layout.num_tiles, [&](int64_t tile) {
    for (int64_t first = 0; first < args.x.rows; first += kRowBlock) {
      const int64_t num_rows = std::min(kRowBlock, args.x.rows - first);
      code_bytes.fetch_add(RunTile(args, layout, tile, first, num_rows), std::memory_order_relaxed);
    }
  });
  if (args.traffic != nullptr) args.traffic->code_bytes += code_bytes.load();
}

void EmbeddingRef(const EmbeddingArgs& args, Stream& stream) noexcept {
  const BcqWeight& weight = *args.bcq;
  const Layout layout = LayoutOf(weight);
  const int64_t blocks_per_group = weight.group_size / kBlockInputs;
  stream.pool().ParallelFor(args.out.rows, [&](int64_t token) {
    const int64_t row = args.token_ids[token];
    BITDIAL_CHECK(row >= 0 && row < weight.out_features);
    const int64_t tile = row / kTileLanes, lane = row % kTileLanes;
    const ScaleView set = ViewOf(weight.ScalesFor(args.bits[token]));
    for (int64_t block = 0; block < layout.num_blocks; ++block) {
      const int64_t group = block / blocks_per_group;
      double values[kBlockInputs] = {};
      for (int plane = 0; plane < set.bits; ++plane) {
        const uint32_t word =
            weight.codes.As<uint32_t>()[layout.CodeOffset(tile, plane, block) + lane];
        const double alpha = F16ToF32(
            set.alpha[layout.AlphaOffset(tile, group, set.bits) + plane * kTileLanes + lane]);
        for (int64_t t = 0; t < kBlockInputs; ++t)
          values[t] += (word >> t & 1u) != 0 ? alpha : -alpha;
      }
      const double beta =
          set.beta != nullptr ? F16ToF32(set.beta[layout.BetaOffset(tile, group) + lane]) : 0;
      float* const out = args.out.Row(token) + block * kBlockInputs;
      for (int64_t t = 0; t < kBlockInputs; ++t) out[t] = static_cast<float>(values[t] + beta);
    }
  });
}

}  // namespace bitdial::kernels::bcq
