#include "kernels/formats/dense/rows.h"

#include "kernels/formats/dense/dense_impl.h"

namespace bitdial::kernels {
namespace {

std::string Supports(const KernelShape& shape) {
  if (shape.in_features < 1)
    return fmt::format("in_features {} is not positive", shape.in_features);
  if (shape.out_features < 1)
    return fmt::format("out_features {} is not positive", shape.out_features);
  if (shape.weight_dtype != DType::kF32 && shape.weight_dtype != DType::kF16 &&
      shape.weight_dtype != DType::kBF16) {
    return fmt::format("weight dtype {} is none of f32, f16, bf16", Name(shape.weight_dtype));
  }
  return "";
}

constexpr KernelKey Linear(Role role) {
  return {.op = Op::kLinear, .weight_format = WeightFormat::kDense, .role = role};
}
constexpr KernelKey kEmbedding{.op = Op::kEmbedding, .weight_format = WeightFormat::kDense};

const KernelRow kRows[] = {
    {Linear(Role::kAny), Backend::kCpuRef, "dense_linear_f32__ref", "ref_f64", Supports,
     DenseLinearRef},
    {Linear(Role::kPrompt), Backend::kCpuAvx2, "dense_linear_f32_chain__avx2", "chain_f32",
     Supports, DensePromptAvx2},
    {Linear(Role::kPrompt), Backend::kCpuAvx512, "dense_linear_f32_chain__avx512", "chain_f32",
     Supports, DensePromptAvx512},
    {Linear(Role::kDecode), Backend::kCpuAvx2, "dense_linear_f32_dot16__avx2", "dot16_f32",
     Supports, DenseDecodeAvx2},
    {Linear(Role::kDecode), Backend::kCpuAvx512, "dense_linear_f32_dot16__avx512", "dot16_f32",
     Supports, DenseDecodeAvx512},
    {kEmbedding, Backend::kCpuRef, "dense_embedding_f32__ref", "exact", Supports,
     DenseEmbeddingRef},
    {kEmbedding, Backend::kCpuAvx2, "dense_embedding_f32__avx2", "exact", Supports,
     DenseEmbeddingAvx2},
    {kEmbedding, Backend::kCpuAvx512, "dense_embedding_f32__avx512", "exact", Supports,
     DenseEmbeddingAvx512},
};

}  // namespace

std::span<const KernelRow> DenseRows() { return kRows; }

}  // namespace bitdial::kernels
