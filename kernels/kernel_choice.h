// Which kernel row of one numeric class runs, by how many rows of x a call has.
//
// Rows of a class give the same result, bit for bit (kernel_table.h), so this is about time alone:
// tables of activations win for a few rows of x, rebuilt weights for many.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>

#include "kernels/kernel_table.h"

namespace bitdial::kernels {

// A call of n rows of x belongs to the last size with from <= n. It is timed at a count from the
// middle: the best for the smallest and the largest of a size may differ.
struct CallSize {
  int64_t from;
  int64_t timed_at;
};
inline constexpr std::array<CallSize, 7> kCallSizes = {
    {{1, 1}, {2, 2}, {4, 5}, {8, 11}, {16, 32}, {64, 128}, {512, 512}}};

// Index into kCallSizes. Requires  num_rows >= 1.
constexpr size_t CallSizeOf(int64_t num_rows) {
  size_t size = kCallSizes.size() - 1;
  while (kCallSizes[size].from > num_rows) --size;
  return size;
}

// The row that runs calls of each size. All are of one class, none is null.
using ChosenRows = std::array<const KernelRow*, kCallSizes.size()>;

// Seconds that one call of so many rows of x takes.
using TimeCall = std::function<double(const KernelRow& row, int64_t num_rows)>;

// What runs where nothing is measured: of the rows that are meant for so many rows of x
// (KernelRow::min_rows) those of the best backend, of these the one meant for most; if there are
// several, the first.
// Requires  candidates: KernelTable::Candidates of a linear.
ChosenRows StaticChoice(std::span<const KernelRow* const> candidates);

// What runs after timing: the fastest where it takes at least a tenth less than the static choice,
// so that noise changes nothing. `time` is called for all candidates in turn, some rounds for a
// size, and the least time of each counts. Small sizes come first; those that the budget of 60 ms
// for all calls together has no room for keep the static choice.
// Requires  as StaticChoice.
ChosenRows TimedChoice(std::span<const KernelRow* const> candidates, const TimeCall& time);

}  // namespace bitdial::kernels
