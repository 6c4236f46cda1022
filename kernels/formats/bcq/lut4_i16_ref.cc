// The class lut4_i16 in plain C++: what it means, and what runs where nothing faster does.
#include "kernels/formats/bcq/lut4_i16.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/core/dtype.h"
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

constexpr int16_t kNotFinite = -1023;  // so that sums stay in range

// Of table t among those of its block.
int64_t Place(int64_t t) { return t % 4 * 2 + t / 4; }

// What is no integer of the class becomes kNotFinite (only where a scale is not finite either).
int16_t Round(float value) {
  return std::abs(value) < kI16Largest + 1 ? static_cast<int16_t>(std::nearbyint(value)) : kNotFinite;
}

int16_t* TableOf(std::byte* tables, int64_t i) {
  return reinterpret_cast<int16_t*>(tables + i / kTablesPerBlock * kI16BlockBytes) +
         Place(i % kTablesPerBlock) * kTableEntries;
}

struct Reference {
  static constexpr int64_t kRowBlock = 1;

  template <int kRows>
  static void Run(const PlanePass& pass) {
    for (int64_t plane = pass.begin_plane; plane < pass.end_plane; ++plane) {
      for (int64_t lane = 0; lane < kTileLanes; ++lane) {
        float& y = pass.acc[lane];
        y = std::fma(F16ToF32(pass.alpha[0][plane * kTileLanes + lane]), PlaneSum(pass, plane, lane), y);
      }
    }
  }

  static float PlaneSum(const PlanePass& pass, int64_t plane, int64_t lane) {
    const int64_t group_size = pass.num_blocks * kBlockInputs;
    const int64_t span_blocks = SpanInputs(group_size) / kBlockInputs;
    const auto* const scales =
        reinterpret_cast<const float*>(pass.tables + I16ScaleOffset(group_size));
    float u = 0;
    for (int64_t first = 0; first < pass.num_blocks; first += span_blocks) {
      int32_t sum = 0;
      for (int64_t block = first; block < first + span_blocks; ++block) {
        const uint32_t word = pass.codes[plane * pass.plane_stride + block * kTileLanes + lane];
        const auto* const entries =
            reinterpret_cast<const int16_t*>(pass.tables + block * kI16BlockBytes);
        for (int t = 0; t < kTablesPerBlock; ++t) {
          sum += entries[Place(t) * kTableEntries + (word >> (4 * t) & 15)];
        }
      }
      u = std::fma(scales[first / span_blocks], static_cast<float>(sum), u);
    }
    return u;
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

void BuildTables(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                 std::byte* tables, float* group_sums) {
  const int64_t span_tables = SpanInputs(args.group_size) / kTableInputs;
  std::byte* const out = tables + args.TableOffset(group, row);
  auto* const scales = reinterpret_cast<float*>(out + I16ScaleOffset(args.group_size));
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
    const float inverse = largest > kI16Tiny ? kI16Largest / largest : 0.0f;
    const float scale = largest > kI16Tiny ? largest / kI16Largest : 0.0f;
    scales[first / span_tables] = scale + (sum - sum);  // NaN when the sum is not finite
    for (int64_t i = first; i < first + span_tables; ++i) {
      const Table table = MakeTable(x + i * kTableInputs);
      std::transform(table.begin(), table.end(), TableOf(out, i),
                     [inverse](float entry) { return Round(entry * inverse); });
    }
  }
}

}  // namespace

void Lut4I16BuildRef(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                     std::byte* tables, float* group_sums) noexcept {
  BuildTables(x, row, group, args, tables, group_sums);
}
int64_t Lut4I16TileRef(const Lut4Args& args, int64_t tile, float* acc,
                       int64_t acc_stride) noexcept {
  return RunLut4Tile<Reference>(args, tile, acc, acc_stride);
}

}  // namespace bitdial::kernels::bcq
