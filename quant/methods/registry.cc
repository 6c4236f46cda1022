#include <cmath>

#include "quant/methods/anybcq/anybcq.h"
#include "quant/methods/bcq/bcq.h"
#include "quant/methods/method.h"
#include "quant/methods/rtn/rtn.h"

namespace bitdial::quant {

std::span<const MethodInfo> AllMethods() {
  static constexpr MethodInfo kMethods[] = {
      {"anybcq", "nested planes: best base precision, then one plane at a time, scales re-solved",
       &MakeAnyBcqSolver},
      {"bcq", "greedy + alternating refinement at the highest bits, scales re-solved below",
       &MakeBcqSolver},
      {"rtn", "round to nearest on a uniform grid (min to max of the group), the baseline",
       &MakeRtnSolver},
  };
  return kMethods;
}

absl::StatusOr<const MethodInfo*> FindMethod(const std::string& name) {
  std::string known;
  for (const MethodInfo& method : AllMethods()) {
    if (name == method.name) return &method;
    known += (known.empty() ? "" : ", ") + std::string(method.name);
  }
  return InvalidArgument("unknown quantization method \"{}\"; use one of {}", name, known);
}

ScaleSet UniformToBcq(double s, double z, int bits) {
  ScaleSet scales;
  for (int p = 0; p < bits; ++p) {
    scales.alpha[static_cast<size_t>(p)] = static_cast<float>(std::ldexp(s, bits - 2 - p));
  }
  scales.beta = static_cast<float>(s * ((std::ldexp(1.0, bits) - 1) / 2 - z));
  return scales;
}

}  // namespace bitdial::quant
