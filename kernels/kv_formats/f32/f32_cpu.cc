#include <cstring>

#include "kernels/kv_formats/f32/f32_kv.h"
#include "kernels/ops/attention/attention_cpu.h"

namespace bitdial::kernels {
namespace {

void Copy(const float* from, float* to, int64_t n) noexcept {
  std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
}

constexpr cpu::AttentionKernels<float> kAvx2 = {Copy, cpu::avx2::ScoreKeys, cpu::avx2::AddValues};
constexpr cpu::AttentionKernels<float> kAvx512 = {Copy, cpu::avx512::ScoreKeys,
                                                  cpu::avx512::AddValues};

}  // namespace

void AttentionF32Avx2(const AttentionArgs& args, Stream& stream) noexcept {
  cpu::TileAttention(kAvx2, args, stream);
}
void AttentionF32Avx512(const AttentionArgs& args, Stream& stream) noexcept {
  cpu::TileAttention(kAvx512, args, stream);
}

}  // namespace bitdial::kernels
