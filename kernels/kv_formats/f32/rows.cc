#include "kernels/kv_formats/f32/rows.h"

#include "kernels/kv_formats/f32/f32_kv.h"
#include "kernels/ops/attention/attention_ref.h"
#include "kernels/ops/attention/supports.h"

namespace bitdial::kernels {
namespace {

constexpr KernelKey kAppend{.op = Op::kKvAppend, .kv_format = KvFormat::kF32};
constexpr KernelKey kAttention{.op = Op::kAttention, .kv_format = KvFormat::kF32};

// An append rounds once in every backend, the reference included: one class.
const KernelRow kRows[] = {
    {kAppend, Backend::kCpuRef,
     "kv_append_f32_kvf32"
     "__ref",
     "rounded_once", KvAppendSupports, KvAppendRef<F32Kv>},
    {kAttention, Backend::kCpuRef,
     "attention_f32_kvf32"
     "__ref",
     "ref_f64", AttentionSupports, AttentionRef<F32Kv>},
};

}  // namespace

std::span<const KernelRow> F32KvRows() { return kRows; }

}  // namespace bitdial::kernels
