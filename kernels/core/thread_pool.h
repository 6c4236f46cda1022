// Fork-join parallelism for kernels, import and quantization.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/core/status.h"

namespace bitdial {

// A fixed set of threads that runs one parallel region at a time. A step has hundreds of short
// regions, so a worker that finds nothing to do watches for the next one for a moment (it spins,
// then yields its core) before it sleeps, and so does the caller at a region's end. A region waits
// for its tasks, not for its workers: one that lost its core to another process holds up nothing
// but the task it is in.
//
// Thread      ParallelFor is called by one thread at a time (the owner), never from inside a task.
// Invariant   task i of a region always does the same work whatever thread runs it, so results do not
//             depend on num_threads as long as num_tasks and the split do not.
class ThreadPool {
 public:
  // num_threads counts the caller: 1 makes no thread. 0 means one per available core.
  // Errors  RESOURCE_EXHAUSTED the system does not start so many.
  static absl::StatusOr<std::unique_ptr<ThreadPool>> Create(int num_threads);
  // The same; throws std::system_error. For tests.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // A borrowed callable: no allocation, the caller outlives the call.
  class TaskRef {
   public:
    template <typename F>
    TaskRef(const F& function)  // NOLINT: implicit on purpose, it is an argument type
        : object_(&function),
          call_([](const void* object, int64_t task) { (*static_cast<const F*>(object))(task); }) {}
    void operator()(int64_t task) const { call_(object_, task); }

   private:
    const void* object_;
    void (*call_)(const void*, int64_t);
  };

  // Runs task(0) .. task(num_tasks - 1), num_tasks < 2^32, and returns when all are done. Tasks are
  // handed out in ascending order.
  void ParallelFor(int64_t num_tasks, TaskRef task);

 private:
  // What is left to hand out, in one word: the region's number above, its tasks nobody has taken
  // below. Taking a task swaps the word, so nobody can take one of a region that is over, and what
  // the region is (task_, num_tasks_) stays while a taken task runs.
  static constexpr int kCountBits = 32;
  static uint64_t NumLeft(uint64_t ticket) { return ticket & ((uint64_t{1} << kCountBits) - 1); }

  void WorkerLoop();
  void Stop();
  bool RunTasks();
  template <typename Ready>
  void WaitUntil(const Ready& ready, std::condition_variable& changed,
                 std::atomic<int>& num_sleeping);
  void Wake(std::condition_variable& changed, const std::atomic<int>& num_sleeping);

  std::vector<std::thread> workers_;
  const TaskRef* task_ = nullptr;  // of the region
  int64_t num_tasks_ = 0;          // of the region
  alignas(64) std::atomic<uint64_t> ticket_{0};
  alignas(64) std::atomic<int64_t> num_done_{0};  // tasks of the region that are done
  std::atomic<bool> is_stopping_{false};

  std::mutex mutex_;  // for sleeping only
  std::condition_variable start_;
  std::condition_variable done_;
  std::atomic<int> num_workers_sleeping_{0};
  std::atomic<int> num_owners_sleeping_{0};
};

}  // namespace bitdial
