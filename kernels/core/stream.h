// Where kernels of one engine run, in order.
#pragma once

#include <cstddef>

#include "kernels/core/buffer.h"
#include "kernels/core/call_times.h"
#include "kernels/core/thread_pool.h"

namespace bitdial {

// An ordered queue of kernel calls on one device. On the CPU a call has finished when the kernel returns;
// on CUDA it is enqueued (a later backend adds the handle here, callers do not change).
// Owner   the engine, or a tool. Thread: one at a time.
class Stream {
 public:
  // The pool must outlive the stream.
  // call_times: where timed kernels (kernels/timed_kernel.h) count; null but in a bench.
  explicit Stream(ThreadPool& pool, CallTimes* call_times = nullptr)
      : pool_(pool), call_times_(call_times) {}

  Device device() const { return Device::kCpu; }
  ThreadPool& pool() { return pool_; }
  CallTimes* call_times() { return call_times_; }

  // Scratch memory for the kernel that is running: at least num_bytes, 64-byte aligned, contents undefined, valid
  // until the next Scratch call. Grows and is kept, so a step allocates nothing after warm-up.
  // Aborts when the machine has no memory left (sizes follow from the config, never from a request alone).
  std::byte* Scratch(size_t num_bytes);

  // Waits until everything enqueued has run. A no-op on the CPU.
  void Synchronize() {}

 private:
  ThreadPool& pool_;
  CallTimes* const call_times_;
  Buffer scratch_;
};

}  // namespace bitdial
