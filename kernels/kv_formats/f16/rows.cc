#include "kernels/kv_formats/f16/rows.h"

#include "kernels/kv_formats/f16/f16_kv.h"
#include "kernels/ops/attention/attention_ref.h"
#include "kernels/ops/attention/supports.h"

namespace bitdial::kernels {
namespace {

constexpr KernelKey kAppend{.op = Op::kKvAppend, .kv_format = KvFormat::kF16};
constexpr KernelKey kAttention{.op = Op::kAttention, .kv_format = KvFormat::kF16};

// An append rounds once in every backend, the reference included: one class.
const KernelRow kRows[] = {
    {kAppend, Backend::kCpuRef, "kv_append_f32_kvf16__ref", "rounded_once", KvAppendSupports,
     KvAppendRef<F16Kv>},
    {kAppend, Backend::kCpuAvx2, "kv_append_f32_kvf16__avx2", "rounded_once", KvAppendSupports,
     KvAppendF16Avx2},
    {kAppend, Backend::kCpuAvx512, "kv_append_f32_kvf16__avx512", "rounded_once", KvAppendSupports,
     KvAppendF16Avx512},
    {kAttention, Backend::kCpuRef, "attention_f32_kvf16__ref", "ref_f64", AttentionSupports,
     AttentionRef<F16Kv>},
    {kAttention, Backend::kCpuAvx2, "attention_f32_kvf16__avx2", "online64_f32",
     TileAttentionSupports, AttentionF16Avx2},
    {kAttention, Backend::kCpuAvx512, "attention_f32_kvf16__avx512", "online64_f32",
     TileAttentionSupports, AttentionF16Avx512},
};

}  // namespace

std::span<const KernelRow> F16KvRows() { return kRows; }

}  // namespace bitdial::kernels
