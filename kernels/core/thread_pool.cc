#include "kernels/core/thread_pool.h"

#include <sched.h>

#include <algorithm>

namespace bitdial {

int NumAvailableCores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

ThreadPool::ThreadPool(int num_threads) {
  const int count = num_threads > 0 ? num_threads : NumAvailableCores();
  for (int i = 1; i < count; ++i) workers_.emplace_back([this] { WorkerLoop(); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  start_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::RunTasks() {
  for (;;) {
    const int64_t task = next_task_.fetch_add(1, std::memory_order_relaxed);
    if (task >= num_tasks_) return;
    (*task_)(task);
  }
}

void ThreadPool::WorkerLoop() {
  uint64_t seen_region = 0;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      start_.wait(lock, [&] { return is_stopping_ || region_ != seen_region; });
      if (is_stopping_) return;
      seen_region = region_;
    }
    RunTasks();
    std::lock_guard lock(mutex_);
    if (--num_busy_ == 0) done_.notify_one();
  }
}

void ThreadPool::ParallelFor(int64_t num_tasks, TaskRef task) {
  if (workers_.empty() || num_tasks <= 1) {
    for (int64_t i = 0; i < num_tasks; ++i) task(i);
    return;
  }
  {
    std::lock_guard lock(mutex_);
    task_ = &task;
    num_tasks_ = num_tasks;
    next_task_.store(0, std::memory_order_relaxed);
    num_busy_ = static_cast<int>(workers_.size());
    ++region_;
  }
  start_.notify_all();
  RunTasks();
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return num_busy_ == 0; });
}

}  // namespace bitdial
