// AnyBCQ without data: nested planes with a scale set for every precision, chosen together.
//
// The published recipe takes the best base precision and adds one plane at a time under frozen
// ones. It is the first start here, and alone it loses to plain rounding at 4 bits: cells that are
// best for 2 bits are a poor frame for 16 levels. So all precisions are then refined jointly. With
// codes fixed, each precision's scales are a least squares of their own; with scales fixed, each
// weight takes the code of max bits that is best for the weighted sum of all precisions
// (AssignJointly). The weight of a precision is its importance over its error, which makes every
// round a descent of sum importance * log(error): a percent lost at one precision must buy more
// than a percent at another. The lowest precision counts most, a model is nearest to breaking
// there. Codes of planes 0 .. b-1 are the same at every bits and the error never rises with bits,
// by construction.
#pragma once

#include <memory>

#include "quant/methods/method.h"

namespace bitdial::quant {

std::unique_ptr<GroupSolver> MakeAnyBcqSolver(BitRange bits);

}  // namespace bitdial::quant
