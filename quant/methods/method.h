// What every quantization method is: a solver of one group of weights. Method is not format: all of
// them emit codes, alpha and beta, and nothing above this header knows which one ran.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/core/status.h"

namespace bitdial::quant {

constexpr int kMaxBits = 8;

// The precisions a tensor is stored at: min .. max planes, one (alpha, beta) set for each.
struct BitRange {
  int min = 2;  // 1 .. max
  int max = 4;  // min .. kMaxBits
  bool operator==(const BitRange&) const = default;
};

// w ~= beta + sum_{p < bits} alpha[p] * s_p, s_p in {-1, +1}. Values lie on the binary16 grid when
// a solver returns them; an infinity means that the grid does not reach.
struct ScaleSet {
  std::array<float, kMaxBits> alpha = {};
  float beta = 0;
};

struct GroupSolution {
  std::vector<uint8_t> codes;  // [group_size], bit p is the sign in plane p, 1 means +1
  std::array<ScaleSet, kMaxBits> scales = {};  // [bits - 1], filled for the BitRange asked for
};

// Solves groups one after another and keeps its scratch between them.
// Thread     one at a time; make one per task.
// Invariant  a group's solution follows from its weights and the BitRange alone.
class GroupSolver {
 public:
  virtual ~GroupSolver() = default;
  // weights [group_size], finite, any magnitude.
  virtual void Solve(std::span<const float> weights, GroupSolution& solution) = 0;
};

struct MethodInfo {
  const char* name;     // "anybcq"
  const char* summary;  // one line for --help
  std::unique_ptr<GroupSolver> (*make_solver)(BitRange bits);
};

// Every method, the default first.
std::span<const MethodInfo> AllMethods();
// Errors  INVALID_ARGUMENT names the methods there are.
absl::StatusOr<const MethodInfo*> FindMethod(const std::string& name);

// Eq. (3) of the BCQ formulation: the levels s * (u - z), u = 0 .. 2^bits - 1, as planes, most
// significant first: alpha[p] = s 2^(bits - 2 - p), beta = s ((2^bits - 1) / 2 - z). Exact when s
// 2^-1 and beta are.
ScaleSet UniformToBcq(double s, double z, int bits);

}  // namespace bitdial::quant
