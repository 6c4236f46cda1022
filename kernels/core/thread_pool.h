// Fork-join parallelism for kernels, import and quantization.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace bitdial {

// A fixed set of threads that runs one parallel region at a time.
// Thread      ParallelFor is called by one thread at a time (the owner), never from inside a task.
// Invariant   task i of a region always does the same work whatever thread runs it, so results do not
//             depend on num_threads as long as num_tasks and the split do not.
class ThreadPool {
 public:
  // num_threads counts the caller: 1 makes no thread. 0 means one per available core.
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

  // Runs task(0) .. task(num_tasks - 1) and returns when all are done. Tasks are handed out in ascending order.
  void ParallelFor(int64_t num_tasks, TaskRef task);

 private:
  void WorkerLoop();
  void RunTasks();

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  uint64_t region_ = 0;  // counts ParallelFor calls; guarded by mutex_
  int num_busy_ = 0;     // workers still inside the region; guarded by mutex_
  bool is_stopping_ = false;
  const TaskRef* task_ = nullptr;
  int64_t num_tasks_ = 0;
  std::atomic<int64_t> next_task_{0};
};

// Cores this process may run on (its affinity mask and cgroup are respected), at least 1.
int NumAvailableCores();

}  // namespace bitdial
