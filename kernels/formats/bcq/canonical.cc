#include "kernels/formats/bcq/canonical.h"

#include "kernels/core/check.h"
#include "kernels/core/dtype.h"

namespace bitdial::kernels {
namespace {

using bcq::kBlockInputs;

double ScaleAt(const TensorView& tensor, int64_t i) {
  return tensor.dtype == DType::kF16 ? F16ToF32(tensor.As<uint16_t>()[i]) : tensor.As<float>()[i];
}

template <typename T>
void DequantizeRowImpl(const CanonicalBcq& canonical, int bits, int64_t row, std::span<T> weights) {
  const CanonicalScales* set = nullptr;
  for (const CanonicalScales& candidate : canonical.scales) {
    if (candidate.bits == bits) set = &candidate;
  }
  BITDIAL_CHECK(set != nullptr);
  const int64_t max_bits = canonical.codes.shape[1], out_features = canonical.codes.shape[2];
  const uint32_t* const words = canonical.codes.As<uint32_t>();
  for (int64_t i = 0; i < static_cast<int64_t>(weights.size()); ++i) {
    const int64_t block = i / kBlockInputs, group = i / canonical.group_size;
    double weight = 0;
    for (int plane = 0; plane < bits; ++plane) {
      const uint32_t word = words[(block * max_bits + plane) * out_features + row];
      const double alpha = ScaleAt(set->alpha, (group * bits + plane) * out_features + row);
      weight += (word >> (i % kBlockInputs) & 1u) != 0 ? alpha : -alpha;
    }
    if (set->beta.data != nullptr) weight += ScaleAt(set->beta, group * out_features + row);
    weights[static_cast<size_t>(i)] = static_cast<T>(weight);
  }
}

}  // namespace

void PackPlane(Matrix<const uint8_t> signs, int plane, int num_planes, int32_t* words) {
  const int64_t out_features = signs.rows, num_blocks = signs.cols / kBlockInputs;
  for (int64_t row = 0; row < out_features; ++row) {
    const uint8_t* const from = signs.Row(row);
    for (int64_t block = 0; block < num_blocks; ++block) {
      uint32_t word = 0;
      for (int64_t t = 0; t < kBlockInputs; ++t) {
        word |= static_cast<uint32_t>(from[block * kBlockInputs + t] != 0) << t;
      }
      words[(block * num_planes + plane) * out_features + row] = static_cast<int32_t>(word);
    }
  }
}

void UnpackPlane(const int32_t* words, int plane, int num_planes, Matrix<uint8_t> signs) {
  const int64_t out_features = signs.rows, num_blocks = signs.cols / kBlockInputs;
  for (int64_t row = 0; row < out_features; ++row) {
    uint8_t* const to = signs.Row(row);
    for (int64_t block = 0; block < num_blocks; ++block) {
      const auto word =
          static_cast<uint32_t>(words[(block * num_planes + plane) * out_features + row]);
      for (int64_t t = 0; t < kBlockInputs; ++t) {
        to[block * kBlockInputs + t] = static_cast<uint8_t>(word >> t & 1u);
      }
    }
  }
}

void DequantizeRow(const CanonicalBcq& canonical, int bits, int64_t row, std::span<float> weights) {
  DequantizeRowImpl(canonical, bits, row, weights);
}

void DequantizeRow(const CanonicalBcq& canonical, int bits, int64_t row,
                   std::span<double> weights) {
  DequantizeRowImpl(canonical, bits, row, weights);
}

}  // namespace bitdial::kernels
