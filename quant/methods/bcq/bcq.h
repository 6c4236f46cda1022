// Binary-coding quantization as published: greedy start, then alternating least squares and nearest
// levels at bits.max, with an offset. At lower bits alpha and beta are solved again for the first
// planes.
#pragma once

#include <memory>

#include "quant/methods/method.h"

namespace bitdial::quant {

std::unique_ptr<GroupSolver> MakeBcqSolver(BitRange bits);

}  // namespace bitdial::quant
