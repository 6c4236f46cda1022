#include "kernels/core/thread_pool.h"

#include <system_error>

#include "kernels/core/check.h"
#include "kernels/core/machine_limits.h"

namespace bitdial {
namespace {

// Looks at the word a thread waits for before it gives its core away, and then before it sleeps.
// The time between two regions of a step is some microseconds; 2000 pauses are 20 to 80. A yield
// takes about one, and on a busy machine runs the other process.
constexpr int kSpins = 2000;
constexpr int kYields = 100;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  const int count = num_threads > 0 ? num_threads : NumAvailableCores();
  try {
    for (int i = 1; i < count; ++i) workers_.emplace_back([this] { WorkerLoop(); });
  } catch (const std::system_error&) {
    Stop();  // a running thread's object must not be destroyed
    throw;
  }
}

absl::StatusOr<std::unique_ptr<ThreadPool>> ThreadPool::Create(int num_threads) {
  try {
    return std::make_unique<ThreadPool>(num_threads);
  } catch (const std::system_error& error) {
    return ResourceExhausted("{} threads cannot be started: {}; ask for fewer (--threads)",
                             num_threads > 0 ? num_threads : NumAvailableCores(), error.what());
  }
}

ThreadPool::~ThreadPool() { Stop(); }

void ThreadPool::Stop() {
  is_stopping_ = true;
  Wake(start_, num_workers_sleeping_);
  for (std::thread& worker : workers_) worker.join();
}

// Returns when ready() is true. A sleeper says so before it looks a last time, and who changes what
// it waits for looks for sleepers afterwards (both sequentially consistent), so none is forgotten.
template <typename Ready>
void ThreadPool::WaitUntil(const Ready& ready, std::condition_variable& changed,
                           std::atomic<int>& num_sleeping) {
  for (int i = 0; i < kSpins; ++i) {
    if (ready()) return;
    Pause();
  }
  for (int i = 0; i < kYields; ++i) {
    if (ready()) return;
    std::this_thread::yield();
  }
  std::unique_lock lock(mutex_);
  ++num_sleeping;
  changed.wait(lock, ready);
  --num_sleeping;
}

void ThreadPool::Wake(std::condition_variable& changed, const std::atomic<int>& num_sleeping) {
  if (num_sleeping.load() == 0) return;
  // A sleeper that has looked and does not wait yet holds the lock.
  { std::lock_guard lock(mutex_); }
  changed.notify_all();
}

// Takes and runs tasks until none is left; false when there was none.
bool ThreadPool::RunTasks() {
  int64_t num_run = 0;
  uint64_t ticket = ticket_.load();
  while (NumLeft(ticket) > 0) {
    if (!ticket_.compare_exchange_weak(ticket, ticket - 1)) continue;
    const int64_t task = num_tasks_ - static_cast<int64_t>(NumLeft(ticket));
    (*task_)(task);
    ++num_run;
    ticket = ticket_.load();
  }
  if (num_run == 0) return false;
  // Counted together, and after the last use of task_: the region may be over after this.
  const int64_t num_tasks = num_tasks_;
  if (num_done_.fetch_add(num_run) + num_run == num_tasks) Wake(done_, num_owners_sleeping_);
  return true;
}

void ThreadPool::WorkerLoop() {
  const auto has_work = [this] { return NumLeft(ticket_.load()) > 0 || is_stopping_.load(); };
  while (!is_stopping_.load()) {
    if (!RunTasks()) WaitUntil(has_work, start_, num_workers_sleeping_);
  }
}

void ThreadPool::ParallelFor(int64_t num_tasks, TaskRef task) {
  if (workers_.empty() || num_tasks <= 1) {
    for (int64_t i = 0; i < num_tasks; ++i) task(i);
    return;
  }
  BITDIAL_CHECK(num_tasks < int64_t{1} << kCountBits);
  task_ = &task;
  num_tasks_ = num_tasks;
  num_done_.store(0);
  const uint64_t region = (ticket_.load() >> kCountBits) + 1;
  ticket_.store(region << kCountBits | static_cast<uint64_t>(num_tasks));
  Wake(start_, num_workers_sleeping_);
  RunTasks();
  WaitUntil([&] { return num_done_.load() == num_tasks; }, done_, num_owners_sleeping_);
}

}  // namespace bitdial
