// y = x W^T (+ bias), for every weight format.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace bitdial::kernels {

// A dense weight as it lies in the mapped file or in `storage`.
struct DenseWeight {
  TensorView w;    // [out_features, in_features], f32, f16 or bf16
  Buffer storage;  // empty when w points into a mapped file that outlives the model
};

// One (alpha, beta) set: what a request at `bits` multiplies planes 0 .. bits-1 with.
// Layout is the kernel's own (kernels/formats/bcq/layout.h), made at load from the canonical tensors.
struct BcqScales {
  int bits = 0;
  Buffer alpha;  // f16
  Buffer beta;   // f16; empty: all zeros
  // What kernels of 8 bits read in place of alpha (kernels/formats/bcq/i8_scales.h); empty where
  // none does. alpha may then be empty.
  Buffer alpha_i8;
  Buffer unit;

  size_t NumBytes() const {
    return alpha.num_bytes() + beta.num_bytes() + alpha_i8.num_bytes() + unit.num_bytes();
  }
};

// A weight as nested bit-planes: W[o, i] = sum_{p < bits} alpha_bits[g, p, o] * s(p, o, i) + beta_bits[g, o],
// s in {-1, +1}, g = i / group_size. Kernel layout; kernels/formats/bcq/prepare.h makes it and describes it.
struct BcqWeight {
  int64_t in_features = 0;
  int64_t out_features = 0;
  int64_t group_size = 0;
  int max_bits = 0;  // planes stored
  Buffer codes;
  std::vector<BcqScales> scales;  // ascending bits

  // The set a request at `bits` uses: the largest stored set <= bits, else the smallest stored one
  // (an embedding or head kept at fixed bits has one set, whatever is asked).
  const BcqScales& ScalesFor(int bits) const;

  // Memory held, padding included: planes, and all alpha and beta sets.
  int64_t CodeBytes() const { return static_cast<int64_t>(codes.num_bytes()); }
  int64_t ScaleBytes() const;
};

// A weight of 8 bits on a uniform grid, made at load from the planes of a head, which no request dials
// (kernels/formats/int8/int8.h says what it stands for and how it lies).
struct Int8Weight {
  int64_t in_features = 0;
  int64_t out_features = 0;
  int64_t span_inputs = 0;
  Buffer weights;
  Buffer alpha;  // f16
  Buffer beta;   // f16; empty: all zeros

  size_t NumBytes() const { return weights.num_bytes() + alpha.num_bytes() + beta.num_bytes(); }
};

// Counts what a step reads of the weights, for tests and benches. Codes are counted where they are loaded.
struct WeightTraffic {
  int64_t code_bytes = 0;
};

// Shapes    x [num_tokens, in_features]; y [num_tokens, out_features]; bits [num_tokens]; bias [out_features] or null
// Requires  x, y row strides >= cols; y does not alias x. bits descending for BCQ, else ignored;
//           dense: `dense` set; BCQ: `bcq` set; int8: `int8` set.
// Writes    every element of y. Row r of y follows from row r of x, bits[r] and the weight alone, bit for bit,
//           whatever num_tokens is and whatever the other rows hold.
struct LinearArgs {
  const DenseWeight* dense = nullptr;
  const BcqWeight* bcq = nullptr;
  const Int8Weight* int8 = nullptr;
  Matrix<const float> x;
  Matrix<float> y;
  const uint8_t* bits = nullptr;
  const float* bias = nullptr;
  WeightTraffic* traffic = nullptr;  // may be null
};
using LinearFn = void (*)(const LinearArgs&, Stream&) noexcept;

}  // namespace bitdial::kernels
