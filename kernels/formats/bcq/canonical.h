// The canonical (on-disk) form of BCQ tensors: pack, unpack and the plain formula. For the
// quantizer, the importers and the tests; kernels read the layout that prepare.h makes.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/formats/bcq/prepare.h"

namespace bitdial::kernels {

// Packs one plane of sign bits into canonical words.
// Shapes    signs [out_features, in_features], 1 means +1, 0 means -1;
//           words [in_features / 32, num_planes, out_features]
// Requires  in_features a multiple of 32; 0 <= plane < num_planes
// Writes    the words of `plane` and no other.
void PackPlane(Matrix<const uint8_t> signs, int plane, int num_planes, int32_t* words);

// The inverse of PackPlane.
void UnpackPlane(const int32_t* words, int plane, int num_planes, Matrix<uint8_t> signs);

// weights[i] = sum_{p < bits} alpha_bits[g, p, row] * s(p, row, i) + beta_bits[g, row],
// g = i / group_size: planes ascending, then beta, summed in double and rounded once. The formula
// as it is written, the oracle of every kernel.
// Requires  a canonical that PrepareBcq takes, with a set of exactly `bits`;
//           weights.size() == in_features
void DequantizeRow(const CanonicalBcq& canonical, int bits, int64_t row, std::span<float> weights);
void DequantizeRow(const CanonicalBcq& canonical, int bits, int64_t row, std::span<double> weights);

}  // namespace bitdial::kernels
