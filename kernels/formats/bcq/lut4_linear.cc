#include "kernels/formats/bcq/lut4_linear.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "kernels/core/check.h"
#include "kernels/core/scratch_cursor.h"
#include "kernels/formats/bcq/prepare.h"

namespace bitdial::kernels::bcq {
namespace {

// Groups whose tables are built by one task at least: fewer cost less than waking a thread.
constexpr int64_t kMinBuildGroups = 4;

// Enough that a thread which lost its core for a moment leaves work to the others.
constexpr int64_t kTasksPerThread = 4;

// Rows whose sums of a tile fit on the stack.
constexpr int64_t kNearRows = 64;

struct Lut4Scratch {
  ScaleView* rows;
  std::byte* tables;
  float* group_sums;
  float*
      tail;  // [num_rows][64]: the last tile's accumulators when out_features is no multiple of 64

  Lut4Scratch(ScratchCursor& cursor, int64_t num_rows, const Layout& layout, int64_t table_bytes)
      : rows(cursor.Take<ScaleView>(num_rows)),
        tables(cursor.Take<std::byte>(num_rows * layout.num_groups * table_bytes)),
        group_sums(cursor.Take<float>(num_rows * layout.num_groups)),
        tail(cursor.Take<float>(num_rows * kTileLanes)) {}
};

void AddBias(const float* bias, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] += bias[i];
}

}  // namespace

void Lut4Linear(const Lut4Isa& isa, const LinearArgs& args, Stream& stream) noexcept {
  const BcqWeight& weight = *args.bcq;
  const Layout layout = LayoutOf(weight);
  const int64_t num_rows = args.x.rows;
  if (num_rows == 0) return;

  const int64_t table_bytes = isa.table_bytes(weight.group_size);
  ScratchCursor measure(nullptr);
  (void)Lut4Scratch(measure, num_rows, layout, table_bytes);
  ScratchCursor cursor(stream.Scratch(measure.used()));
  const Lut4Scratch scratch(cursor, num_rows, layout, table_bytes);
  for (int64_t r = 0; r < num_rows; ++r) {
    scratch.rows[r] = ViewOf(weight.ScalesFor(args.bits[r]));
    BITDIAL_CHECK(r == 0 || scratch.rows[r].bits <= scratch.rows[r - 1].bits);
  }
  const Lut4Args call = {.layout = layout,
                         .group_size = weight.group_size,
                         .codes = weight.codes.As<uint32_t>(),
                         .rows = scratch.rows,
                         .num_rows = num_rows,
                         .table_bytes = table_bytes,
                         .tables = scratch.tables,
                         .group_sums = scratch.group_sums};
  // A row's groups are split too: alone, it would leave the other threads waiting.
  const int64_t num_parts =
      std::clamp<int64_t>(layout.num_groups / kMinBuildGroups, 1, stream.pool().num_threads());
  stream.pool().ParallelFor(num_rows * num_parts, [&](int64_t task) {
    const int64_t row = task / num_parts, part = task % num_parts;
    const int64_t end = layout.num_groups * (part + 1) / num_parts;
    for (int64_t group = layout.num_groups * part / num_parts; group < end; ++group) {
      isa.build(args.x.Row(row) + group * weight.group_size, row, group, call, scratch.tables,
                scratch.group_sums);
    }
  });

  std::atomic<int64_t> code_bytes{0};
  const auto run_tile = [&](int64_t tile) {
    const int64_t begin = tile * kTileLanes;
    const int64_t lanes = std::min(kTileLanes, weight.out_features - begin);
    // Rows of y can lie a power of two apart, all in the same few sets of the L1: sums that are
    // added to for every plane and group stay together here.
    alignas(64) float near[kNearRows * kTileLanes];
    const bool is_near = num_rows <= kNearRows, is_tail = is_near || lanes < kTileLanes;
    float* const acc = is_near ? near : is_tail ? scratch.tail : args.y.data + begin;
    const int64_t acc_stride = is_tail ? kTileLanes : args.y.stride;
    code_bytes.fetch_add(isa.tile(call, tile, acc, acc_stride), std::memory_order_relaxed);
    for (int64_t r = 0; r < num_rows; ++r) {
      float* const out = args.y.Row(r) + begin;
      if (is_tail)
        std::memcpy(out, acc + r * acc_stride, static_cast<size_t>(lanes) * sizeof(float));
      if (args.bias != nullptr) AddBias(args.bias + begin, out, lanes);
    }
  };
  // Neighbouring tiles together: the end of one fetches the beginning of the next.
  const int64_t num_tasks =
      std::min<int64_t>(layout.num_tiles, kTasksPerThread * stream.pool().num_threads());
  stream.pool().ParallelFor(num_tasks, [&](int64_t task) {
    const int64_t end = layout.num_tiles * (task + 1) / num_tasks;
    for (int64_t tile = layout.num_tiles * task / num_tasks; tile < end; ++tile) run_tile(tile);
  });
  if (args.traffic != nullptr) args.traffic->code_bytes += code_bytes.load();
}

}  // namespace bitdial::kernels::bcq
