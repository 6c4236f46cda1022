#include "kernels/ops/attention/supports.h"

#include "kernels/ops/attention/attention_kernels.h"

namespace bitdial::kernels {

std::string KvAppendSupports(const KernelShape& shape) {
  if (shape.num_kv_heads < 1)
    return fmt::format("num_kv_heads {} is not positive", shape.num_kv_heads);
  if (shape.head_dim < 1) return fmt::format("head_dim {} is not positive", shape.head_dim);
  return "";
}

std::string AttentionSupports(const KernelShape& shape) {
  if (std::string refusal = KvAppendSupports(shape); !refusal.empty()) return refusal;
  if (shape.num_heads < 1 || shape.num_heads % shape.num_kv_heads != 0) {
    return fmt::format("num_heads {} is not a positive multiple of num_kv_heads {}",
                       shape.num_heads, shape.num_kv_heads);
  }
  return "";
}

std::string TileAttentionSupports(const KernelShape& shape) {
  if (std::string refusal = AttentionSupports(shape); !refusal.empty()) return refusal;
  if (shape.head_dim > cpu::kMaxHeadDim) {
    return fmt::format("head_dim {} is above {}", shape.head_dim, cpu::kMaxHeadDim);
  }
  if (shape.num_heads / shape.num_kv_heads > cpu::kMaxQueries) {
    return fmt::format("{} heads per KV head are above {}", shape.num_heads / shape.num_kv_heads,
                       cpu::kMaxQueries);
  }
  return "";
}

}  // namespace bitdial::kernels
