#include <cstring>

#include "kernels/kv_formats/f32/f32_kv.h"
#include "kernels/ops/attention/attention_cpu.h"

namespace bitdial::kernels {
namespace {

void Copy(const float* from, float* to, int64_t n) noexcept {
  std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
}

constexpr cpu::AttentionKernels<float> kAvx2 = {
    .score_keys = cpu::avx2::ScoreKeysF32,
    .add_values = cpu::avx2::AddValuesF32,
    .max_direct_queries = cpu::kMaxQueries,
    .widen = Copy,
    .score_widened = cpu::avx2::ScoreKeysF32,
    .add_widened = cpu::avx2::AddValuesF32};
constexpr cpu::AttentionKernels<float> kAvx512 = {
    .score_keys = cpu::avx512::ScoreKeysF32,
    .add_values = cpu::avx512::AddValuesF32,
    .max_direct_queries = cpu::kMaxQueries,
    .widen = Copy,
    .score_widened = cpu::avx512::ScoreKeysF32,
    .add_widened = cpu::avx512::AddValuesF32};

}  // namespace

void AttentionF32Avx2(const AttentionArgs& args, Stream& stream) noexcept {
  cpu::TileAttention(kAvx2, args, stream);
}
void AttentionF32Avx512(const AttentionArgs& args, Stream& stream) noexcept {
  cpu::TileAttention(kAvx512, args, stream);
}

}  // namespace bitdial::kernels
