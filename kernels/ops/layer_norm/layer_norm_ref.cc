#include <cmath>

#include "kernels/ops/layer_norm/layer_norm_impl.h"

namespace bitdial::kernels {

void LayerNormRef(const LayerNormArgs& args, Stream&) noexcept {
  const auto n = static_cast<double>(args.x.cols);
  for (int64_t row = 0; row < args.x.rows; ++row) {
    const float* x = args.x.Row(row);
    double sum = 0, sum_of_squares = 0;
    for (int64_t i = 0; i < args.x.cols; ++i) sum += x[i];
    const double mean = sum / n;
    for (int64_t i = 0; i < args.x.cols; ++i) sum_of_squares += (x[i] - mean) * (x[i] - mean);
    const double scale = 1.0 / std::sqrt(sum_of_squares / n + static_cast<double>(args.eps));
    for (int64_t i = 0; i < args.x.cols; ++i) {
      args.out.Row(row)[i] =
          static_cast<float>((x[i] - mean) * scale * args.weight[i] + args.bias[i]);
    }
  }
}

}  // namespace bitdial::kernels
