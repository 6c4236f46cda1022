#include "kernels/kv_formats/f32/rows.h"

#include "kernels/kv_formats/f32/f32_kv.h"
#include "kernels/ops/attention/attention_ref.h"
#include "kernels/ops/attention/supports.h"

namespace bitdial::kernels {
namespace {

constexpr KernelKey kAppend{.op = Op::kKvAppend, .kv_format = KvFormat::kF32};
constexpr KernelKey kAttention{.op = Op::kAttention, .kv_format = KvFormat::kF32};

// An f32 append is a copy: the reference is all any backend needs.
const KernelRow kRows[] = {
    {kAppend, Backend::kCpuRef, "kv_append_f32_kvf32__ref", "rounded_once", KvAppendSupports,
     KvAppendRef<F32Kv>},
    {kAttention, Backend::kCpuRef, "attention_f32_kvf32__ref", "ref_f64", AttentionSupports,
     AttentionRef<F32Kv>},
    {kAttention, Backend::kCpuAvx2, "attention_f32_kvf32__avx2", "online64_f32",
     TileAttentionSupports, AttentionF32Avx2},
    {kAttention, Backend::kCpuAvx512, "attention_f32_kvf32__avx512", "online64_f32",
     TileAttentionSupports, AttentionF32Avx512},
};

}  // namespace

std::span<const KernelRow> F32KvRows() { return kRows; }

}  // namespace bitdial::kernels
