#include <cmath>

#include "kernels/ops/elementwise/elementwise_impl.h"

namespace bitdial::kernels {

void SiluMulRef(const SiluMulArgs& args, Stream&) noexcept {
  for (int64_t row = 0; row < args.out.rows; ++row) {
    for (int64_t i = 0; i < args.out.cols; ++i) {
      const double gate = args.gate.Row(row)[i];
      const double up = args.up.Row(row)[i];
      args.out.Row(row)[i] = static_cast<float>(gate / (1.0 + std::exp(-gate)) * up);
    }
  }
}

void AddRef(const AddArgs& args, Stream&) noexcept {
  for (int64_t row = 0; row < args.out.rows; ++row) {
    for (int64_t i = 0; i < args.out.cols; ++i) args.out.Row(row)[i] += args.x.Row(row)[i];
  }
}

void ReluRef(const ReluArgs& args, Stream&) noexcept {
  for (int64_t row = 0; row < args.out.rows; ++row) {
    for (int64_t i = 0; i < args.out.cols; ++i) {
      const float x = args.x.Row(row)[i];
      args.out.Row(row)[i] = x < 0 ? 0 : x;
    }
  }
}

void GeluRef(const GeluArgs& args, Stream&) noexcept {
  for (int64_t row = 0; row < args.out.rows; ++row) {
    for (int64_t i = 0; i < args.out.cols; ++i) {
      const double x = args.x.Row(row)[i];
      // erfc: 1 + erf would lose what is left of it below -5.
      args.out.Row(row)[i] = static_cast<float>(x * 0.5 * std::erfc(-x * std::sqrt(0.5)));
    }
  }
}

}  // namespace bitdial::kernels
