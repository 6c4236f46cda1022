#include "kernels/formats/int8/int8_linear.h"

#include <algorithm>

#include "kernels/core/scratch_cursor.h"

namespace bitdial::kernels::int8 {
namespace {

// Enough that a thread which lost its core for a moment leaves work to the others.
constexpr int64_t kTasksPerThread = 4;

// Rows whose sums of a tile lie on the stack; more take the tile again, from L2.
constexpr int64_t kChunkRows = 64;

struct Scratch {
  int16_t* x;
  Span* spans;

  Scratch(ScratchCursor& cursor, int64_t num_rows, int64_t in_features, int64_t num_spans)
      : x(cursor.Take<int16_t>(num_rows * in_features)),
        spans(cursor.Take<Span>(num_rows * num_spans)) {}
};

void RunTile(const Isa& isa, const LinearArgs& args, const Rows& rows, int64_t tile) {
  const Int8Weight& weight = *args.int8;
  const int64_t begin = tile * kTileLanes;
  const int64_t lanes = std::min(kTileLanes, weight.out_features - begin);
  const uint16_t* const beta = weight.beta.As<uint16_t>();
  alignas(64) float acc[kChunkRows * kTileLanes];
  for (int64_t first = 0; first < args.x.rows; first += kChunkRows) {
    const int64_t num_rows = std::min(kChunkRows, args.x.rows - first);
    isa.tile({.rows = rows,
              .first = first,
              .num_rows = num_rows,
              .weights = weight.weights.As<int8_t>() + begin * weight.in_features,
              .alpha = weight.alpha.As<uint16_t>() + begin * rows.NumSpans(),
              .beta = beta == nullptr ? nullptr : beta + begin * rows.NumSpans(),
              .acc = acc});
    for (int64_t r = 0; r < num_rows; ++r) {
      float* const out = args.y.Row(first + r) + begin;
      for (int64_t lane = 0; lane < lanes; ++lane) {
        const float y = acc[r * kTileLanes + lane];
        out[lane] = args.bias == nullptr ? y : y + args.bias[begin + lane];
      }
    }
  }
}

}  // namespace

void Int8Linear(const Isa& isa, const LinearArgs& args, Stream& stream) noexcept {
  const Int8Weight& weight = *args.int8;
  const int64_t num_rows = args.x.rows, num_spans = weight.in_features / weight.span_inputs;
  if (num_rows == 0) return;
  ScratchCursor measure(nullptr);
  (void)Scratch(measure, num_rows, weight.in_features, num_spans);
  ScratchCursor cursor(stream.Scratch(measure.used()));
  const Scratch scratch(cursor, num_rows, weight.in_features, num_spans);
  const Rows rows = {.x = scratch.x,
                     .spans = scratch.spans,
                     .in_features = weight.in_features,
                     .span_inputs = weight.span_inputs};
  stream.pool().ParallelFor(num_rows,
                            [&](int64_t row) { isa.quantize(args.x.Row(row), row, rows); });

  // Neighbouring tiles together: one stream.
  const int64_t num_tiles = (weight.out_features + kTileLanes - 1) / kTileLanes;
  const int64_t num_tasks =
      std::min<int64_t>(num_tiles, kTasksPerThread * stream.pool().num_threads());
  stream.pool().ParallelFor(num_tasks, [&](int64_t task) {
    const int64_t end = num_tiles * (task + 1) / num_tasks;
    for (int64_t tile = num_tiles * task / num_tasks; tile < end; ++tile) {
      RunTile(isa, args, rows, tile);
    }
  });
  if (args.traffic != nullptr) {
    args.traffic->code_bytes += num_tiles * kTileLanes * weight.in_features;
  }
}

}  // namespace bitdial::kernels::int8
