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

constexpr KernelKey kLinear{.op = Op::kLinear, .weight_format = WeightFormat::kDense};
constexpr KernelKey kEmbedding{.op = Op::kEmbedding, .weight_format = WeightFormat::kDense};

const KernelRow kRows[] = {
    {kLinear, Backend::kCpuRef, "dense_linear_f32__ref", "ref_f64", Supports, DenseLinearRef},
    {kEmbedding, Backend::kCpuRef, "dense_embedding_f32__ref", "exact", Supports,
     DenseEmbeddingRef},
};

}  // namespace

std::span<const KernelRow> DenseRows() { return kRows; }

}  // namespace bitdial::kernels
