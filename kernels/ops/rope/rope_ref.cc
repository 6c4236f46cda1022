#include "kernels/ops/rope/rope_impl.h"

namespace bitdial::kernels {

void RopeRef(const RopeArgs& args, Stream&) noexcept {
  const int64_t half = args.head_dim / 2;
  for (int64_t row = 0; row < args.x.rows; ++row) {
    const float* cos = args.cos + args.positions[row] * half;
    const float* sin = args.sin + args.positions[row] * half;
    for (int64_t head = 0; head < args.num_heads; ++head) {
      float* first = args.x.Row(row) + head * args.head_dim;
      float* second = first + half;
      for (int64_t c = 0; c < half; ++c) {
        const double a = first[c];
        const double b = second[c];
        first[c] = static_cast<float>(a * cos[c] - b * sin[c]);
        second[c] = static_cast<float>(b * cos[c] + a * sin[c]);
      }
    }
  }
}

}  // namespace bitdial::kernels
