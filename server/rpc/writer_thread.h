// One thread that turns token events into messages, so that the engine thread never detokenizes,
// serializes or writes.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace bitdial::server {

// Runs tasks in the order they were posted.
// Bound    each stream posts at most one task at a time, so the queue is as long as there are
// streams. Thread   Post: any, never blocks on a task.
class WriterThread {
 public:
  WriterThread() : thread_([this] { Run(); }) {}
  ~WriterThread();  // runs what is queued, then joins

  void Post(std::function<void()> task);

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable has_work_;
  std::deque<std::function<void()>> tasks_;
  bool is_stopping_ = false;
  std::thread thread_;  // last: it uses the members above
};

}  // namespace bitdial::server
