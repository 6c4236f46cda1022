#include "kernels/formats/bcq/rows.h"

#include "kernels/formats/bcq/dequant_i8_linear.h"
#include "kernels/formats/bcq/dequant_linear.h"
#include "kernels/formats/bcq/linear_ref.h"
#include "kernels/formats/bcq/lut4_i16.h"
#include "kernels/formats/bcq/lut4_i8.h"
#include "kernels/formats/bcq/lut4_linear.h"

namespace bitdial::kernels {
namespace {

std::string Supports(const KernelShape& shape) {
  if (shape.in_features < 1 || shape.in_features % bcq::kBlockInputs != 0) {
    return fmt::format("in_features {} is not a multiple of {}", shape.in_features,
                       bcq::kBlockInputs);
  }
  if (shape.out_features < 1)
    return fmt::format("out_features {} is not positive", shape.out_features);
  if (shape.group_size < 1 || shape.group_size % bcq::kBlockInputs != 0) {
    return fmt::format("group_size {} is not a multiple of {}", shape.group_size,
                       bcq::kBlockInputs);
  }
  if (shape.in_features % shape.group_size != 0) {
    return fmt::format("group_size {} does not divide in_features {}", shape.group_size,
                       shape.in_features);
  }
  if (shape.max_bits < 1 || shape.max_bits > bcq::kMaxBits) {
    return fmt::format("max_bits {} is not 1 to {}", shape.max_bits, bcq::kMaxBits);
  }
  return "";
}

std::string SupportsI8(const KernelShape& shape) {
  if (shape.max_bits > bcq::kI8MaxPlanes) {
    return fmt::format("max_bits {} is more than {}", shape.max_bits, bcq::kI8MaxPlanes);
  }
  return Supports(shape);
}

void Lut4Avx2(const LinearArgs& args, Stream& stream) noexcept {
  bcq::Lut4Linear({bcq::Lut4TableBytes, bcq::Lut4BuildAvx2, bcq::Lut4TileAvx2}, args, stream);
}
void Lut4Avx512(const LinearArgs& args, Stream& stream) noexcept {
  bcq::Lut4Linear({bcq::Lut4TableBytes, bcq::Lut4BuildAvx512, bcq::Lut4TileAvx512}, args, stream);
}
void Lut4I8Ref(const LinearArgs& args, Stream& stream) noexcept {
  bcq::Lut4Linear({bcq::Lut4I8TableBytes, bcq::Lut4I8BuildRef, bcq::Lut4I8TileRef}, args, stream);
}
void Lut4I8Avx2(const LinearArgs& args, Stream& stream) noexcept {
  bcq::Lut4Linear({bcq::Lut4I8TableBytes, bcq::Lut4I8BuildAvx2, bcq::Lut4I8TileAvx2}, args, stream);
}
void Lut4I8Avx512(const LinearArgs& args, Stream& stream) noexcept {
  bcq::Lut4Linear({bcq::Lut4I8TableBytes, bcq::Lut4I8BuildAvx512, bcq::Lut4I8TileAvx512}, args,
                  stream);
}
void Lut4I16Ref(const LinearArgs& args, Stream& stream) noexcept {
  bcq::Lut4Linear({bcq::Lut4I16TableBytes, bcq::Lut4I16BuildRef, bcq::Lut4I16TileRef}, args, stream);
}
void Lut4I16Avx2(const LinearArgs& args, Stream& stream) noexcept {
  bcq::Lut4Linear({bcq::Lut4I16TableBytes, bcq::Lut4I16BuildAvx2, bcq::Lut4I16TileAvx2}, args,
                  stream);
}
void Lut4I16Avx512(const LinearArgs& args, Stream& stream) noexcept {
  bcq::Lut4Linear({bcq::Lut4I16TableBytes, bcq::Lut4I16BuildAvx512, bcq::Lut4I16TileAvx512}, args,
                  stream);
}
void DequantAvx2(const LinearArgs& args, Stream& stream) noexcept {
  bcq::DequantLinear({bcq::DequantPanelAvx2, cpu::ChainGemmAvx2}, args, stream);
}
void DequantAvx512(const LinearArgs& args, Stream& stream) noexcept {
  bcq::DequantLinear({bcq::DequantPanelAvx512, cpu::ChainGemmAvx512}, args, stream);
}
void DequantI8Ref(const LinearArgs& args, Stream& stream) noexcept {
  bcq::DequantI8Linear({1, bcq::I8QuantizeRef, bcq::I8PanelRef, bcq::I8GemmRef}, args, stream);
}
void DequantI8Avx2(const LinearArgs& args, Stream& stream) noexcept {
  bcq::DequantI8Linear({2, bcq::I8QuantizeAvx2, bcq::I8PanelAvx2, bcq::I8GemmAvx2}, args, stream);
}
void DequantI8Avx512(const LinearArgs& args, Stream& stream) noexcept {
  bcq::DequantI8Linear({1, bcq::I8QuantizeAvx512, bcq::I8PanelAvx512, bcq::I8GemmAvx512}, args,
                       stream);
}
void DequantI8Amx(const LinearArgs& args, Stream& stream) noexcept {
  bcq::DequantI8Linear({1, bcq::I8QuantizeAvx512, bcq::I8SignedPanelAvx512, bcq::I8GemmAmx}, args,
                       stream);
}

constexpr KernelKey kPrompt = {
    .op = Op::kLinear, .weight_format = WeightFormat::kBcq, .role = Role::kPrompt};
constexpr KernelKey kDecode = {
    .op = Op::kLinear, .weight_format = WeightFormat::kBcq, .role = Role::kDecode};
constexpr KernelKey kBoth = {.op = Op::kLinear, .weight_format = WeightFormat::kBcq};
constexpr KernelKey kEmbed = {.op = Op::kEmbedding, .weight_format = WeightFormat::kBcq};

// Rows of x from which rebuilding weights is about as fast as looking them up (README.md).
constexpr int64_t kManyRows = 16;

const KernelRow kRows[] = {
    {kDecode, Backend::kCpuAvx512, "bcq_linear_f32_lut4__avx512", "lut4_f32", Supports,
     LinearFn{Lut4Avx512}},
    {kDecode, Backend::kCpuAvx2, "bcq_linear_f32_lut4__avx2", "lut4_f32", Supports,
     LinearFn{Lut4Avx2}},
    {kDecode, Backend::kCpuRef, "bcq_linear_f32_decode__ref", "ref_f64", Supports,
     LinearFn{bcq::LinearRef}},
    {kDecode, Backend::kCpuAvx512, "bcq_linear_i16_lut4__avx512", "lut4_i16", Supports,
     LinearFn{Lut4I16Avx512}, Numerics::kInt16},
    {kDecode, Backend::kCpuAvx2, "bcq_linear_i16_lut4__avx2", "lut4_i16", Supports,
     LinearFn{Lut4I16Avx2}, Numerics::kInt16},
    {kDecode, Backend::kCpuRef, "bcq_linear_i16_lut4__ref", "lut4_i16", Supports,
     LinearFn{Lut4I16Ref}, Numerics::kInt16},
    {kBoth, Backend::kCpuAvx512, "bcq_linear_i8_lut4__avx512", "bcq_i8", SupportsI8,
     LinearFn{Lut4I8Avx512}, Numerics::kInt8, Extension::kVbmiVnni},
    {kBoth, Backend::kCpuAvx512, "bcq_linear_i8_amx__avx512", "bcq_i8", SupportsI8,
     LinearFn{DequantI8Amx}, Numerics::kInt8, Extension::kVbmiVnniAmx, kManyRows},
    {kBoth, Backend::kCpuAvx512, "bcq_linear_i8_dequant__avx512", "bcq_i8", SupportsI8,
     LinearFn{DequantI8Avx512}, Numerics::kInt8, Extension::kVbmiVnni, kManyRows},
    {kBoth, Backend::kCpuAvx2, "bcq_linear_i8_lut4__avx2", "bcq_i8", SupportsI8,
     LinearFn{Lut4I8Avx2}, Numerics::kInt8},
    {kBoth, Backend::kCpuAvx2, "bcq_linear_i8_dequant__avx2", "bcq_i8", SupportsI8,
     LinearFn{DequantI8Avx2}, Numerics::kInt8, Extension::kNone, kManyRows},
    {kBoth, Backend::kCpuRef, "bcq_linear_i8_lut4__ref", "bcq_i8", SupportsI8, LinearFn{Lut4I8Ref},
     Numerics::kInt8},
    {kBoth, Backend::kCpuRef, "bcq_linear_i8_dequant__ref", "bcq_i8", SupportsI8,
     LinearFn{DequantI8Ref}, Numerics::kInt8},
    {kPrompt, Backend::kCpuAvx512, "bcq_linear_f32_dequant__avx512", "dequant_chain_f32", Supports,
     LinearFn{DequantAvx512}},
    {kPrompt, Backend::kCpuAvx2, "bcq_linear_f32_dequant__avx2", "dequant_chain_f32", Supports,
     LinearFn{DequantAvx2}},
    {kPrompt, Backend::kCpuRef, "bcq_linear_f32_prompt__ref", "ref_f64", Supports,
     LinearFn{bcq::LinearRef}},
    {kEmbed, Backend::kCpuRef, "bcq_embedding_f32__ref", "ref_f64", Supports,
     EmbeddingFn{bcq::EmbeddingRef}},
};

}  // namespace

std::span<const KernelRow> BcqRows() { return kRows; }

}  // namespace bitdial::kernels
