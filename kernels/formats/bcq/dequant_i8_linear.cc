#include "kernels/formats/bcq/dequant_i8_linear.h"

#include <algorithm>
#include <atomic>
#include <functional>

#include "kernels/core/scratch_cursor.h"
#include "kernels/formats/bcq/segments.h"

namespace bitdial::kernels::bcq {
namespace {

static_assert(kI8PanelInputs % kMaxSpanInputs == 0);

// Rows that share a rebuilt panel: enough that rebuilding is a few percent of the products, few
// enough that their sums of a tile (64 KiB) stay in L2 and a narrow layer feeds several threads.
constexpr int64_t kChunkRows = 256;

struct Scratch {
  std::byte* x;
  I8Span* spans;

  Scratch(ScratchCursor& cursor, int64_t num_rows, int64_t row_bytes, int64_t num_spans)
      : x(cursor.Take<std::byte>(num_rows * row_bytes)),
        spans(cursor.Take<I8Span>(num_rows * num_spans)) {}
};

// What one task works in.
struct Tile {
  alignas(64) std::byte weights[kTileLanes * kI8PanelInputs * kI8MaxInputBytes];
  alignas(64) float acc[kChunkRows * kTileLanes];
};

void RunTile(const DequantI8Isa& isa, const BcqWeight& weight, const I8Rows& rows,
             const Segment* segments, int64_t num_segments, int64_t first_row, int64_t out_tile,
             Tile& tile) {
  const int64_t panel_spans = kI8PanelInputs / rows.span_inputs;
  for (int64_t span = 0; span < rows.num_spans; span += panel_spans) {
    const int64_t num_spans = std::min(panel_spans, rows.num_spans - span);
    for (const Segment* s = segments; s != segments + num_segments; ++s) {
      const I8Panel panel = {.layout = LayoutOf(weight),
                             .group_size = weight.group_size,
                             .codes = weight.codes.As<uint32_t>(),
                             .set = s->set,
                             .tile = out_tile,
                             .span_inputs = rows.span_inputs,
                             .first_span = span,
                             .num_spans = num_spans,
                             .weights = tile.weights};
      isa.panel(panel);
      isa.gemm({.rows = rows,
                .first_row = s->begin,
                .num_rows = s->count,
                .panel = panel,
                .acc = tile.acc + (s->begin - first_row) * kTileLanes});
    }
  }
}

}  // namespace

void DequantI8Linear(const DequantI8Isa& isa, const LinearArgs& args, Stream& stream) noexcept {
  const BcqWeight& weight = *args.bcq;
  const Layout layout = LayoutOf(weight);
  if (args.x.rows == 0) return;
  const int64_t span_inputs = SpanInputs(weight.group_size);
  const int64_t num_spans = weight.in_features / span_inputs;
  const int64_t row_bytes = weight.in_features * isa.input_bytes;
  ScratchCursor measure(nullptr);
  (void)Scratch(measure, args.x.rows, row_bytes, num_spans);
  ScratchCursor cursor(stream.Scratch(measure.used()));
  const Scratch scratch(cursor, args.x.rows, row_bytes, num_spans);
  const I8Rows rows = {.x = scratch.x,
                       .row_bytes = row_bytes,
                       .spans = scratch.spans,
                       .num_spans = num_spans,
                       .span_inputs = span_inputs};
  stream.pool().ParallelFor(
      args.x.rows, [&](int64_t row) { isa.quantize(args.x.Row(row), row, rows); });

  const int64_t num_chunks = (args.x.rows + kChunkRows - 1) / kChunkRows;
  std::atomic<int64_t> code_bytes{0};
  stream.pool().ParallelFor(layout.num_tiles * num_chunks, [&](int64_t task) {
    const int64_t out_tile = task / num_chunks, first = task % num_chunks * kChunkRows;
    const int64_t num_rows = std::min(kChunkRows, args.x.rows - first);
    Segment segments[kMaxBits];
    const int64_t num_segments = SplitByBits(args, first, num_rows, segments);
    Tile tile;
    std::fill_n(tile.acc, num_rows * kTileLanes, 0.0f);
    RunTile(isa, weight, rows, segments, num_segments, first, out_tile, tile);
    const int64_t begin = out_tile * kTileLanes;
    const int64_t num_outs = std::min(kTileLanes, weight.out_features - begin);
    for (int64_t r = 0; r < num_rows; ++r) {
      float* const out = args.y.Row(first + r) + begin;
      const float* const acc = tile.acc + r * kTileLanes;
      if (args.bias == nullptr) {
        std::copy_n(acc, num_outs, out);
      } else {
        std::transform(acc, acc + num_outs, args.bias + begin, out, std::plus<>());
      }
    }
    code_bytes.fetch_add(segments[0].set.bits * layout.num_blocks * kTileLanes * int64_t{4},
                         std::memory_order_relaxed);
  });
  if (args.traffic != nullptr) args.traffic->code_bytes += code_bytes.load();
}

}  // namespace bitdial::kernels::bcq
