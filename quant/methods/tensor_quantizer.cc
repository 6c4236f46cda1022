#include "quant/methods/tensor_quantizer.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/dtype.h"
#include "quant/methods/rtn/rtn.h"

namespace bitdial::quant {
namespace {

constexpr int64_t kTaskRows = 16;  // one cache line of code words
constexpr int64_t kSlabWeights = 1
                                 << 20;  // between two calls of advance: about a tenth of a second
constexpr int64_t kWordBits = 32;

// What one task found; tasks are summed in order, so totals do not depend on who ran them.
struct TaskResult {
  enum class Failure { kNone, kNonFinite, kOverflow };
  Failure failure = Failure::kNone;
  int64_t row = 0, col = 0;
  float value = 0;
  double sum_of_squares = 0;
  std::array<double, kMaxBits> squared_error = {};
  std::array<double, kMaxBits> max_error = {};
};

// Quantizes rows into the shared output; every task owns its columns of it.
class RowQuantizer {
 public:
  RowQuantizer(const TensorView& weights, const TensorPlan& plan, const MethodInfo& method,
               QuantizedTensor& out)
      : weights_(weights),
        plan_(plan),
        out_(out),
        solver_(plan.is_uniform ? MakeRtnSolver(plan.bits) : method.make_solver(plan.bits)),
        row_(static_cast<size_t>(plan.shape[1])) {
    solution_.codes.resize(static_cast<size_t>(plan.group_size));
  }

  // Stops at the first failure and says so in `result`.
  void Run(int64_t begin, int64_t end, TaskResult& result) {
    const auto group_size = static_cast<size_t>(plan_.group_size);
    for (int64_t row = begin; row < end; ++row) {
      ReadRowAsF32(weights_, row, row_.data());
      for (size_t start = 0; start < row_.size(); start += group_size) {
        const std::span<const float> group(row_.data() + start, group_size);
        const auto bad =
            std::find_if(group.begin(), group.end(), [](float w) { return !std::isfinite(w); });
        if (bad != group.end()) {
          const auto col = static_cast<int64_t>(start) + (bad - group.begin());
          return Fail(TaskResult::Failure::kNonFinite, row, col, *bad, result);
        }
        solver_->Solve(group, solution_);
        if (!ScalesAreFinite()) {
          const float largest = *std::max_element(group.begin(), group.end(), [](float a, float b) {
            return std::abs(a) < std::abs(b);
          });
          return Fail(TaskResult::Failure::kOverflow, row, static_cast<int64_t>(start), largest,
                      result);
        }
        Store(row, start);
        Measure(group, result);
      }
    }
  }

 private:
  static void Fail(TaskResult::Failure failure, int64_t row, int64_t col, float value,
                   TaskResult& result) {
    result.failure = failure;
    result.row = row;
    result.col = col;
    result.value = value;
  }

  bool ScalesAreFinite() const {
    for (int bits = plan_.bits.min; bits <= plan_.bits.max; ++bits) {
      const ScaleSet& set = solution_.scales[static_cast<size_t>(bits - 1)];
      if (!std::isfinite(set.beta)) return false;
      for (int p = 0; p < bits; ++p) {
        if (!std::isfinite(set.alpha[static_cast<size_t>(p)])) return false;
      }
    }
    return true;
  }

  void Store(int64_t row, size_t start) {
    const auto out_features = static_cast<size_t>(plan_.shape[0]);
    const auto r = static_cast<size_t>(row);
    const auto num_planes = static_cast<size_t>(plan_.bits.max);
    for (size_t base = 0; base < solution_.codes.size(); base += kWordBits) {
      for (size_t p = 0; p < num_planes; ++p) {
        uint32_t word = 0;
        for (size_t t = 0; t < kWordBits; ++t) {
          word |= static_cast<uint32_t>(solution_.codes[base + t] >> p & 1u) << t;
        }
        out_.codes[((start + base) / kWordBits * num_planes + p) * out_features + r] =
            static_cast<int32_t>(word);
      }
    }
    const size_t group = start / static_cast<size_t>(plan_.group_size);
    for (QuantizedScales& scales : out_.scales) {
      const ScaleSet& set = solution_.scales[static_cast<size_t>(scales.bits - 1)];
      const auto bits = static_cast<size_t>(scales.bits);
      for (size_t p = 0; p < bits; ++p) {
        scales.alpha[(group * bits + p) * out_features + r] = F32ToF16(set.alpha[p]);
      }
      scales.beta[group * out_features + r] = F32ToF16(set.beta);
    }
  }

  // Errors of what was stored: scales are on the binary16 grid already.
  void Measure(std::span<const float> group, TaskResult& result) {
    for (const float w : group)
      result.sum_of_squares += static_cast<double>(w) * static_cast<double>(w);
    for (int bits = plan_.bits.min; bits <= plan_.bits.max; ++bits) {
      const auto set = static_cast<size_t>(bits - 1);
      const size_t num_levels = size_t{1} << bits;
      std::array<double, size_t{1} << kMaxBits> levels;
      levels[0] = static_cast<double>(solution_.scales[set].beta);
      for (size_t p = 0; p <= set; ++p)
        levels[0] -= static_cast<double>(solution_.scales[set].alpha[p]);
      for (size_t p = 0; p <= set; ++p) {
        const double step = 2 * static_cast<double>(solution_.scales[set].alpha[p]);
        for (size_t c = 0; c < size_t{1} << p; ++c) levels[c | size_t{1} << p] = levels[c] + step;
      }
      for (size_t i = 0; i < group.size(); ++i) {
        const double error =
            static_cast<double>(group[i]) - levels[solution_.codes[i] & (num_levels - 1)];
        result.squared_error[set] += error * error;
        result.max_error[set] = std::max(result.max_error[set], std::abs(error));
      }
    }
  }

  const TensorView& weights_;
  const TensorPlan& plan_;
  QuantizedTensor& out_;
  std::unique_ptr<GroupSolver> solver_;
  std::vector<float> row_;
  GroupSolution solution_;
};

QuantizedTensor MakeOutput(const TensorPlan& plan) {
  QuantizedTensor out;
  const auto out_features = static_cast<size_t>(plan.shape[0]);
  const auto num_groups = static_cast<size_t>(plan.shape[1] / plan.group_size);
  out.codes.resize(static_cast<size_t>(plan.shape[1] / kWordBits * plan.bits.max) * out_features);
  for (int bits = plan.bits.min; bits <= plan.bits.max; ++bits) {
    QuantizedScales scales{.bits = bits, .alpha = {}, .beta = {}};
    scales.alpha.resize(num_groups * static_cast<size_t>(bits) * out_features);
    scales.beta.resize(num_groups * out_features);
    out.scales.push_back(std::move(scales));
  }
  return out;
}

absl::Status FailureStatus(const TensorPlan& plan, const TaskResult& result) {
  if (result.failure == TaskResult::Failure::kNonFinite) {
    return DataLoss("tensor \"{}\": element [{}, {}] is {}; weights must be finite",
                           plan.name, result.row, result.col, result.value);
  }
  return InvalidArgument(
      "tensor \"{}\": row {}, group from column {}: weights up to {} need scales beyond binary16 "
      "(65504); keep the "
      "tensor dense with the override \"{}=dense\"",
      plan.name, result.row, result.col, result.value, plan.name);
}

void Summarise(const TensorPlan& plan, const std::vector<TaskResult>& results,
               QuantizedTensor& out) {
  TaskResult sum;
  for (const TaskResult& result : results) {
    sum.sum_of_squares += result.sum_of_squares;
    for (size_t set = 0; set < kMaxBits; ++set) {
      sum.squared_error[set] += result.squared_error[set];
      sum.max_error[set] = std::max(sum.max_error[set], result.max_error[set]);
    }
  }
  out.sum_of_squares = sum.sum_of_squares;
  for (int bits = plan.bits.min; bits <= plan.bits.max; ++bits) {
    const auto set = static_cast<size_t>(bits - 1);
    const double squared = sum.squared_error[set];
    out.precisions.push_back({
        .bits = bits,
        .bits_per_weight = bits + 16.0 * (bits + 1) / static_cast<double>(plan.group_size),
        .relative_error = squared == 0 ? 0 : std::sqrt(squared / sum.sum_of_squares),
        .max_error = sum.max_error[set],
    });
  }
}

template <typename ToFloat, typename T>
int64_t FindNonFiniteIn(const T* values, int64_t count, const ToFloat& to_float) {
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(to_float(values[i]))) return i;
  }
  return -1;
}

}  // namespace

absl::StatusOr<QuantizedTensor> QuantizeTensor(const TensorView& weights, const TensorPlan& plan,
                                               const MethodInfo& method, ThreadPool& pool,
                                               const std::function<bool(int64_t)>& advance) {
  const int64_t num_rows = plan.shape[0], num_cols = plan.shape[1];
  QuantizedTensor out = MakeOutput(plan);
  std::vector<TaskResult> results(static_cast<size_t>((num_rows + kTaskRows - 1) / kTaskRows));
  const int64_t slab_rows = std::max(kSlabWeights / num_cols / kTaskRows, int64_t{1}) * kTaskRows;
  for (int64_t slab = 0; slab < num_rows; slab += slab_rows) {
    const int64_t slab_end = std::min(slab + slab_rows, num_rows);
    pool.ParallelFor((slab_end - slab + kTaskRows - 1) / kTaskRows, [&](int64_t task) {
      const int64_t begin = slab + task * kTaskRows;
      RowQuantizer(weights, plan, method, out)
          .Run(begin, std::min(begin + kTaskRows, slab_end),
               results[static_cast<size_t>(begin / kTaskRows)]);
    });
    for (const TaskResult& result : results) {
      if (result.failure != TaskResult::Failure::kNone) return FailureStatus(plan, result);
    }
    if (!advance((slab_end - slab) * num_cols))
      return absl::CancelledError("quantization was stopped");
  }
  Summarise(plan, results, out);
  return out;
}

int64_t FindNonFinite(const TensorView& tensor) {
  const int64_t count = tensor.shape.NumElements();
  switch (tensor.dtype) {
    case DType::kF32:
      return FindNonFiniteIn(tensor.As<float>(), count, [](float w) { return w; });
    case DType::kF16:
      return FindNonFiniteIn(tensor.As<uint16_t>(), count, [](uint16_t w) { return F16ToF32(w); });
    case DType::kBF16:
      return FindNonFiniteIn(tensor.As<uint16_t>(), count, [](uint16_t w) { return BF16ToF32(w); });
    case DType::kI32:
    case DType::kU8:
      break;
  }
  return -1;
}

}  // namespace bitdial::quant
