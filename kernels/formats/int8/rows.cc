#include "kernels/formats/int8/rows.h"

#include "kernels/formats/int8/int8_linear.h"

namespace bitdial::kernels {
namespace {

std::string Supports(const KernelShape& shape) {
  if (shape.out_features < 1)
    return fmt::format("out_features {} is not positive", shape.out_features);
  const int64_t span = shape.group_size;
  if (span != 32 && span != 64 && span != 128)
    return fmt::format("group_size {} is none of 32, 64, 128", span);
  if (shape.in_features < 1 || shape.in_features % span != 0)
    return fmt::format("group_size {} does not divide in_features {}", span, shape.in_features);
  return "";
}

void Ref(const LinearArgs& args, Stream& stream) noexcept {
  int8::Int8Linear({int8::QuantizeRef, int8::TileRef}, args, stream);
}
void Avx2(const LinearArgs& args, Stream& stream) noexcept {
  int8::Int8Linear({int8::QuantizeAvx2, int8::TileAvx2}, args, stream);
}
void Avx512(const LinearArgs& args, Stream& stream) noexcept {
  int8::Int8Linear({int8::QuantizeAvx512, int8::TileAvx512}, args, stream);
}

constexpr KernelKey kLinear = {.op = Op::kLinear, .weight_format = WeightFormat::kInt8};

const KernelRow kRows[] = {
    {kLinear, Backend::kCpuAvx512, "int8_linear_i16__avx512", "int8_i16", Supports,
     LinearFn{Avx512}, Numerics::kInt8, Extension::kVbmiVnni},
    {kLinear, Backend::kCpuAvx2, "int8_linear_i16__avx2", "int8_i16", Supports, LinearFn{Avx2},
     Numerics::kInt8},
    {kLinear, Backend::kCpuRef, "int8_linear_i16__ref", "int8_i16", Supports, LinearFn{Ref},
     Numerics::kInt8},
};

}  // namespace

std::span<const KernelRow> Int8Rows() { return kRows; }

}  // namespace bitdial::kernels
