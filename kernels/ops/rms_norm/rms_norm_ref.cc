#include <cmath>

#include "kernels/ops/rms_norm/rms_norm_impl.h"

namespace bitdial::kernels {

void RmsNormRef(const RmsNormArgs& args, Stream&) noexcept {
  for (int64_t row = 0; row < args.x.rows; ++row) {
    const float* x = args.x.Row(row);
    double sum_of_squares = 0;
    for (int64_t i = 0; i < args.x.cols; ++i) sum_of_squares += static_cast<double>(x[i]) * x[i];
    const double mean = sum_of_squares / static_cast<double>(args.x.cols);
    const double scale = 1.0 / std::sqrt(mean + static_cast<double>(args.eps));
    for (int64_t i = 0; i < args.x.cols; ++i) {
      args.out.Row(row)[i] = static_cast<float>(x[i] * scale * args.weight[i]);
    }
  }
}

}  // namespace bitdial::kernels
