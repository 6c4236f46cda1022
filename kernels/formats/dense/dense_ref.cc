#include "kernels/core/check.h"
#include "kernels/formats/dense/dense_impl.h"

namespace bitdial::kernels {
namespace {

// Element `index` of a dense weight.
float Element(const TensorView& w, int64_t index) {
  switch (w.dtype) {
    case DType::kF32:
      return w.As<float>()[index];
    case DType::kF16:
      return F16ToF32(w.As<uint16_t>()[index]);
    case DType::kBF16:
      return BF16ToF32(w.As<uint16_t>()[index]);
    default:
      BITDIAL_CHECK(false);
  }
}

}  // namespace

void DenseLinearRef(const LinearArgs& args, Stream& stream) noexcept {
  const TensorView& w = args.dense->w;
  stream.pool().ParallelFor(args.y.cols, [&](int64_t out) {
    for (int64_t row = 0; row < args.x.rows; ++row) {
      const float* x = args.x.Row(row);
      double sum = args.bias != nullptr ? args.bias[out] : 0.0;
      for (int64_t k = 0; k < args.x.cols; ++k) {
        sum += static_cast<double>(x[k]) * Element(w, out * args.x.cols + k);
      }
      args.y.Row(row)[out] = static_cast<float>(sum);
    }
  });
}

void DenseEmbeddingRef(const EmbeddingArgs& args, Stream&) noexcept {
  const TensorView& w = args.dense->w;
  for (int64_t row = 0; row < args.out.rows; ++row) {
    const int64_t token_id = args.token_ids[row];
    BITDIAL_CHECK(0 <= token_id && token_id < w.shape[0]);
    for (int64_t i = 0; i < args.out.cols; ++i) {
      args.out.Row(row)[i] = Element(w, token_id * args.out.cols + i);
    }
  }
}

}  // namespace bitdial::kernels
