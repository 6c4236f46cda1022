// What a layer needs beside its weights and its rows: where to run and where to put intermediates.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/core/buffer.h"
#include "kernels/core/check.h"
#include "kernels/core/stream.h"
#include "kernels/core/view.h"
#include "kernels/ops/linear/linear.h"

namespace bitdial::engine {

// Intermediates of one step: a stack. What a function takes goes back when its Scope ends.
// Owner   StepLoop (engine lifetime); sized once for the largest step, so a step allocates nothing.
class Workspace {
 public:
  // Errors  RESOURCE_EXHAUSTED.
  static absl::StatusOr<Workspace> Create(Device device, int64_t num_floats) {
    BITDIAL_ASSIGN_OR_RETURN(
        Buffer buffer, Buffer::Allocate(device, static_cast<size_t>(num_floats) * sizeof(float)));
    return Workspace(std::move(buffer));
  }

  class Scope {
   public:
    explicit Scope(Workspace& workspace) : workspace_(workspace), used_(workspace.used_) {}
    ~Scope() { workspace_.used_ = used_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Workspace& workspace_;
    int64_t used_;
  };

  // Floats a matrix takes: rounded up to 64 bytes, so that every matrix begins on a cache line.
  static int64_t FloatsFor(int64_t rows, int64_t cols) { return (rows * cols + 15) / 16 * 16; }

  // Uninitialised [rows, cols], valid until the innermost Scope ends.
  Matrix<float> Take(int64_t rows, int64_t cols) {
    Matrix<float> matrix = MakeMatrix(buffer_.As<float>() + used_, rows, cols);
    used_ += FloatsFor(rows, cols);
    BITDIAL_CHECK(static_cast<size_t>(used_) * sizeof(float) <= buffer_.num_bytes());
    return matrix;
  }

  int64_t num_bytes() const { return static_cast<int64_t>(buffer_.num_bytes()); }

 private:
  explicit Workspace(Buffer buffer) : buffer_(std::move(buffer)) {}
  Buffer buffer_;
  int64_t used_ = 0;  // floats
};

struct StepContext {
  Stream& stream;
  Workspace& workspace;
  kernels::WeightTraffic* traffic = nullptr;  // may be null
  // A model runs LayersToWarmUp() only: enough for every kernel to take its scratch memory.
  bool is_warm_up = false;
};

}  // namespace bitdial::engine
