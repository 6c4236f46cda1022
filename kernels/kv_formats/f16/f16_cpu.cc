#include "kernels/backends/cpu/convert_kernels.h"
#include "kernels/backends/cpu/row_tasks.h"
#include "kernels/kv_formats/f16/f16_kv.h"
#include "kernels/ops/attention/attention_cpu.h"

namespace bitdial::kernels {
namespace {

constexpr cpu::AttentionKernels<uint16_t> kAvx2 = {
    .score_keys = cpu::avx2::ScoreKeysF16,
    .add_values = cpu::avx2::AddValuesF16,
    .max_direct_queries = 4,
    .widen = cpu::avx2::WidenF16,
    .score_widened = cpu::avx2::ScoreKeysF32,
    .add_widened = cpu::avx2::AddValuesF32};
constexpr cpu::AttentionKernels<uint16_t> kAvx512 = {
    .score_keys = cpu::avx512::ScoreKeysF16,
    .add_values = cpu::avx512::AddValuesF16,
    .max_direct_queries = 8,
    .widen = cpu::avx512::WidenF16,
    .score_widened = cpu::avx512::ScoreKeysF32,
    .add_widened = cpu::avx512::AddValuesF32};

void Append(cpu::NarrowF16Fn* narrow, const KvAppendArgs& args, Stream& stream) {
  const KvSegment& segment = args.segment;
  cpu::ForEachRow(stream.pool(), args.k.rows, [&](int64_t row) {
    const KvSlot slot = FindSlot(segment, args.seq_idx[row], args.positions[row]);
    for (int64_t head = 0; head < segment.num_kv_heads; ++head) {
      const int64_t offset = head * segment.head_dim;
      narrow(args.k.Row(row) + offset, KRow<uint16_t>(segment, slot, head), segment.head_dim);
      narrow(args.v.Row(row) + offset, VRow<uint16_t>(segment, slot, head), segment.head_dim);
    }
  });
}

}  // namespace

void KvAppendF16Avx2(const KvAppendArgs& args, Stream& stream) noexcept {
  Append(cpu::avx2::NarrowF16, args, stream);
}
void KvAppendF16Avx512(const KvAppendArgs& args, Stream& stream) noexcept {
  Append(cpu::avx512::NarrowF16, args, stream);
}
void AttentionF16Avx2(const AttentionArgs& args, Stream& stream) noexcept {
  cpu::TileAttention(kAvx2, args, stream);
}
void AttentionF16Avx512(const AttentionArgs& args, Stream& stream) noexcept {
  cpu::TileAttention(kAvx512, args, stream);
}

}  // namespace bitdial::kernels
