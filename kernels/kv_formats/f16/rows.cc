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
    {kAppend, Backend::kCpuRef,
     "kv_append_f32_kvf16"
     "__ref",
     "rounded_once", KvAppendSupports, KvAppendRef<F16Kv>},
    {kAttention, Backend::kCpuRef,
     "attention_f32_kvf16"
     "__ref",
     "ref_f64", AttentionSupports, AttentionRef<F16Kv>},
};

}  // namespace

std::span<const KernelRow> F16KvRows() { return kRows; }

}  // namespace bitdial::kernels
