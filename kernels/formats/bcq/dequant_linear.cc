#include "kernels/formats/bcq/dequant_linear.h"

#include <algorithm>
#include <atomic>

#include "kernels/formats/bcq/prepare.h"
#include "kernels/formats/bcq/segments.h"

namespace bitdial::kernels::bcq {
namespace {

static_assert(kTileLanes == cpu::kPanelOuts, "a code tile fills a panel");
static_assert(cpu::kPanelK % kBlockInputs == 0);

// Rows that share a rebuilt panel (chain_linear.cc takes the same): enough that rebuilding is a few
// percent of the FMAs, few enough that a narrow layer feeds several threads.
constexpr int64_t kChunkRows = 192;

}  // namespace

void DequantLinear(const DequantIsa& isa, const LinearArgs& args, Stream& stream) noexcept {
  const BcqWeight& weight = *args.bcq;
  const Layout layout = LayoutOf(weight);
  const int64_t num_chunks = (args.x.rows + kChunkRows - 1) / kChunkRows;
  std::atomic<int64_t> code_bytes{0};
  stream.pool().ParallelFor(layout.num_tiles * num_chunks, [&](int64_t task) {
    const int64_t tile = task / num_chunks, first = task % num_chunks * kChunkRows;
    const int64_t num_rows = std::min(kChunkRows, args.x.rows - first);
    const int64_t out_begin = tile * kTileLanes;
    const int64_t num_outs = std::min(kTileLanes, weight.out_features - out_begin);
    Segment segments[kMaxBits];
    const int64_t num_segments = SplitByBits(args, first, num_rows, segments);
    alignas(64) float panel[cpu::kPanelOuts * cpu::kPanelK];
    for (int64_t k = 0; k < weight.in_features; k += cpu::kPanelK) {
      const int64_t num_k = std::min(cpu::kPanelK, weight.in_features - k);
      for (const Segment* s = segments; s != segments + num_segments; ++s) {
        isa.dequant({.layout = layout,
                     .group_size = weight.group_size,
                     .codes = weight.codes.As<uint32_t>(),
                     .set = s->set,
                     .tile = tile,
                     .num_slices = (num_outs + cpu::kPanelLanes - 1) / cpu::kPanelLanes,
                     .first_block = k / kBlockInputs,
                     .num_blocks = num_k / kBlockInputs,
                     .panel = panel});
        isa.gemm({.x = args.x.Row(s->begin) + k,
                  .x_stride = args.x.stride,
                  .panel = panel,
                  .y = args.y.Row(s->begin) + out_begin,
                  .y_stride = args.y.stride,
                  .num_rows = s->count,
                  .num_outs = num_outs,
                  .num_k = num_k,
                  .accumulate = k > 0});
      }
    }
    code_bytes.fetch_add(segments[0].set.bits * layout.num_blocks * kTileLanes * int64_t{4},
                         std::memory_order_relaxed);
    if (args.bias == nullptr) return;
    for (int64_t r = first; r < first + num_rows; ++r) {
      float* const out = args.y.Row(r) + out_begin;
      for (int64_t o = 0; o < num_outs; ++o) out[o] += args.bias[out_begin + o];
    }
  });
  if (args.traffic != nullptr) args.traffic->code_bytes += code_bytes.load();
}

}  // namespace bitdial::kernels::bcq
