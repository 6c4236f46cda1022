// Generated problems for every op of the kernel table: operands in guarded memory, a way to run any
// row on a range of the problem's rows, and the error each output may have against the reference.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/kernel_table.h"

namespace bitdial::kernels {

struct Problem {
  std::string description;
  KernelShape shape;
  int64_t num_rows = 0;
  int64_t row_width = 0;
  // Output of rows [row_begin, row_begin + num_rows), [num_rows, row_width]; the kernel is called
  // with those alone. Reports a gtest failure when anything else was written.
  std::function<std::vector<float>(const KernelRow& row, Stream& stream, int64_t row_begin,
                                   int64_t num_rows)>
      run;
  // Largest |row - reference| that the operands' magnitudes and the number of roundings allow,
  // [num_rows * row_width]. Derived at each generator; u = 2^-24 is the unit roundoff of f32.
  std::vector<double> bounds;
  // What a row of Numerics::kInt8 or kInt16 may be off on top of that; empty where there is none.
  std::vector<double> int8_bounds, int16_bounds;

  double BoundFor(const KernelRow& row, size_t i) const {
    if (row.numerics == Numerics::kExact) return bounds[i];
    return bounds[i] + (row.numerics == Numerics::kInt8 ? int8_bounds : int16_bounds)[i];
  }
};
using MakeProblem = std::function<Problem()>;

// The sweep for a row: remainders around the vector width, one to many rows, all element types.
std::vector<MakeProblem> SmallProblems(const KernelKey& key);

// Layers of SmolLM2-135M: 576, 1536, 49152 features, 9 heads over 3 of 64 channels, 512 tokens; and
// of OPT-125m where SmolLM2 has no such op: 768, 3072 features.
std::vector<MakeProblem> RealProblems(const KernelKey& key);

// Shapes that every row of the key must refuse.
std::vector<KernelShape> IllegalShapes(const KernelKey& key);

}  // namespace bitdial::kernels
