// Threads for the small row-wise ops.
#pragma once

#include <algorithm>

#include "kernels/core/thread_pool.h"

namespace bitdial::kernels::cpu {

// Calls body(row) for every row, sixteen rows a task: a decode step's few rows stay on the caller's
// thread, where waking another would cost more than the work.
template <typename Body>
void ForEachRow(ThreadPool& pool, int64_t num_rows, const Body& body) {
  constexpr int64_t kTaskRows = 16;
  pool.ParallelFor((num_rows + kTaskRows - 1) / kTaskRows, [&](int64_t task) {
    const int64_t end = std::min(num_rows, (task + 1) * kTaskRows);
    for (int64_t row = task * kTaskRows; row < end; ++row) body(row);
  });
}

}  // namespace bitdial::kernels::cpu
