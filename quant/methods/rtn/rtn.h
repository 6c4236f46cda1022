// Round to nearest on a uniform grid from the group's minimum to its maximum: the baseline every
// other method is held against. At bits.max it is plain RTN in the form of eq. (3). At lower bits
// the codes are the most significant planes of the max-bits code, so that planes nest as the format
// demands (codes of separate RTN runs would not), and step and offset are fitted to them by least
// squares; the levels stay uniform at every bits. Error mostly falls with bits, but only the
// solvers that minimise it promise that.
#pragma once

#include <memory>

#include "quant/methods/method.h"

namespace bitdial::quant {

std::unique_ptr<GroupSolver> MakeRtnSolver(BitRange bits);

}  // namespace bitdial::quant
