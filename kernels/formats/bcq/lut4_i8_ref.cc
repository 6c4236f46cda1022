// The class lut4_i8 in plain C++: what it means, and what runs where nothing faster does.
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "kernels/core/dtype.h"
#include "kernels/formats/bcq/lut4_i8.h"
#include "kernels/formats/bcq/lut4_tile.h"

namespace bitdial::kernels::bcq {
namespace {

using Table = std::array<float, kTableEntries>;

Table MakeTable(const float* x) {
  Table table;
  for (int c = 0; c < kTableEntries; ++c) {
    const auto sign = [&](int t) { return (c >> t & 1) != 0 ? x[t] : -x[t]; };
    table[static_cast<size_t>(c)] = ((sign(0) + sign(1)) + sign(2)) + sign(3);
  }
  return table;
}

// As cvtps2dq and the saturating packs do: what is no int8 becomes -128 (only where a scale is not
// finite either).
int8_t Round(float value) {
  return std::abs(value) < 128.0f ? static_cast<int8_t>(std::nearbyint(value)) : int8_t{-128};
}

int8_t* TableOf(std::byte* tables, int64_t i) {
  const int64_t t = i % kTablesPerBlock;
  return reinterpret_cast<int8_t*>(tables) + i / kTablesPerBlock * kI8BlockBytes +
         (t % 2 * 4 + t / 2) * kTableEntries;
}

struct Reference {
  static constexpr int64_t kRowBlock = 1;

  template <int kRows>
  static void Run(const PlanePass& pass) {
    const int64_t group_size = pass.num_blocks * kBlockInputs;
    const int64_t span_blocks = SpanInputs(group_size) / kBlockInputs;
    const auto* const tables = reinterpret_cast<const int8_t*>(pass.tables);
    const auto* const scales =
        reinterpret_cast<const float*>(pass.tables + Lut4I8ScaleOffset(group_size));
    for (int64_t plane = pass.begin_plane; plane < pass.end_plane; ++plane) {
      const uint32_t* const codes = pass.codes + plane * pass.plane_stride;
      const uint16_t* const alpha = pass.alpha[0] + plane * kTileLanes;
      for (int64_t lane = 0; lane < kTileLanes; ++lane) {
        float u = 0;
        for (int64_t first = 0; first < pass.num_blocks; first += span_blocks) {
          int32_t sum = 0;
          for (int64_t block = first; block < first + span_blocks; ++block) {
            const uint32_t word = codes[block * kTileLanes + lane];
            for (int t = 0; t < kTablesPerBlock; ++t) {
              sum += tables[block * kI8BlockBytes + (t % 2 * 4 + t / 2) * kTableEntries +
                            (word >> (4 * t) & 15)];
            }
          }
          u = std::fma(scales[first / span_blocks], static_cast<float>(sum), u);
        }
        pass.acc[lane] = std::fma(F16ToF32(alpha[lane]), u, pass.acc[lane]);
      }
    }
  }

  static void Beta(const uint16_t* beta, const float* group_sums, int64_t num_rows, float* acc,
                   int64_t acc_stride) {
    for (int64_t r = 0; r < num_rows; ++r) {
      for (int64_t lane = 0; lane < kTileLanes; ++lane) {
        float& out = acc[r * acc_stride + lane];
        out = std::fma(F16ToF32(beta[lane]), group_sums[r], out);
      }
    }
  }
};

}  // namespace

void Lut4I8BuildRef(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                    std::byte* tables, float* group_sums) noexcept {
  const int64_t span_tables = SpanInputs(args.group_size) / kTableInputs;
  std::byte* const out = tables + args.TableOffset(group, row);
  auto* const scales = reinterpret_cast<float*>(out + Lut4I8ScaleOffset(args.group_size));
  float sum = 0;
  for (int64_t i = 0; i < args.group_size / kTableInputs; ++i) {
    sum += MakeTable(x + i * kTableInputs)[kTableEntries - 1];
  }
  group_sums[group * args.num_rows + row] = sum;
  for (int64_t first = 0; first < args.group_size / kTableInputs; first += span_tables) {
    float largest = 0;
    for (int64_t i = first; i < first + span_tables; ++i) {
      for (float entry : MakeTable(x + i * kTableInputs)) {
        largest = std::max(largest, std::abs(entry));
      }
    }
    const float inverse = largest > kLut4I8Tiny ? 127.0f / largest : 0.0f;
    const float scale = largest > kLut4I8Tiny ? largest / 127.0f : 0.0f;
    scales[first / span_tables] = scale + (sum - sum);  // NaN when the sum is not finite
    for (int64_t i = first; i < first + span_tables; ++i) {
      const Table table = MakeTable(x + i * kTableInputs);
      std::transform(table.begin(), table.end(), TableOf(out, i),
                     [inverse](float entry) { return Round(entry * inverse); });
    }
  }
}

int64_t Lut4I8TileRef(const Lut4Args& args, int64_t tile, float* acc, int64_t acc_stride) noexcept {
  return RunLut4Tile<Reference>(args, tile, acc, acc_stride);
}

}  // namespace bitdial::kernels::bcq
