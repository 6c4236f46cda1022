#include "kernels/kernel_choice.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <tuple>
#include <vector>

namespace bitdial::kernels {
namespace {

constexpr double kBudgetSeconds = 0.060;
// The first round of a size also warms caches and scratch memory; one alone says nothing.
constexpr int kMinRounds = 2;
constexpr int kMaxRounds = 5;
// A candidate must take less than this of the static choice's time.
constexpr double kMargin = 0.9;

const KernelRow* StaticRow(std::span<const KernelRow* const> candidates, int64_t num_rows) {
  const auto rank = [&](const KernelRow* row) {
    const bool is_meant = row->min_rows <= num_rows;
    return std::tuple(is_meant, row->backend, is_meant ? row->min_rows : -row->min_rows);
  };
  return *std::max_element(candidates.begin(), candidates.end(),
                           [&](const auto* a, const auto* b) { return rank(a) < rank(b); });
}

class Budget {
 public:
  bool HasRoomFor(double seconds) const { return spent_ + seconds <= kBudgetSeconds; }
  void Spend(double seconds) { spent_ += seconds; }

 private:
  double spent_ = 0;
};

// The least seconds of each candidate; empty when the budget ended before it said anything.
std::vector<double> TimeSize(std::span<const KernelRow* const> candidates, int64_t num_rows,
                             const TimeCall& time, Budget& budget) {
  std::vector<double> least(candidates.size(), std::numeric_limits<double>::infinity());
  double round_seconds = 0;
  int round = 0;
  for (; round < kMaxRounds && budget.HasRoomFor(round_seconds); ++round) {
    round_seconds = 0;
    for (size_t i = 0; i < candidates.size(); ++i) {
      const double seconds = time(*candidates[i], num_rows);
      least[i] = std::min(least[i], seconds);
      round_seconds += seconds;
    }
    budget.Spend(round_seconds);
  }
  return round >= kMinRounds ? least : std::vector<double>();
}

// The fastest, or the static choice when that is hardly slower.
const KernelRow* FasterByMargin(std::span<const KernelRow* const> candidates,
                                const KernelRow* usual, const std::vector<double>& seconds) {
  const auto at = [&](const KernelRow* row) {
    return seconds[static_cast<size_t>(std::find(candidates.begin(), candidates.end(), row) -
                                       candidates.begin())];
  };
  const auto least = std::min_element(seconds.begin(), seconds.end());
  const bool is_faster = *least < kMargin * at(usual);
  return is_faster ? candidates[static_cast<size_t>(least - seconds.begin())] : usual;
}

}  // namespace

ChosenRows StaticChoice(std::span<const KernelRow* const> candidates) {
  ChosenRows chosen;
  for (size_t size = 0; size < chosen.size(); ++size)
    chosen[size] = StaticRow(candidates, kCallSizes[size].from);
  return chosen;
}

ChosenRows TimedChoice(std::span<const KernelRow* const> candidates, const TimeCall& time) {
  ChosenRows chosen = StaticChoice(candidates);
  Budget budget;
  double row_seconds = 0;  // of a round, for each row of x: what the next size will take at most
  for (size_t size = 0; size < chosen.size(); ++size) {
    const int64_t num_rows = kCallSizes[size].timed_at;
    if (!budget.HasRoomFor(kMinRounds * row_seconds * static_cast<double>(num_rows))) break;
    const std::vector<double> seconds = TimeSize(candidates, num_rows, time, budget);
    if (seconds.empty()) break;
    chosen[size] = FasterByMargin(candidates, chosen[size], seconds);
    row_seconds =
        std::accumulate(seconds.begin(), seconds.end(), 0.0) / static_cast<double>(num_rows);
  }
  return chosen;
}

}  // namespace bitdial::kernels
