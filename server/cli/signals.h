// SIGINT and SIGTERM taken by a thread of their own, so that nothing runs inside a signal handler.
#pragma once

#include <atomic>
#include <functional>
#include <thread>

namespace bitdial::server {

// Blocks SIGINT and SIGTERM in the calling thread and those it will start. Call before any other
// thread exists.
void BlockSignals();

// For a process that must outlive its terminal and the reader of its log: SIGHUP would end it, and asks
// for nothing that does not happen by itself (keys and certificates are watched); SIGPIPE would end it
// at the first line that nobody reads.
void IgnoreForServing();

// Runs on_signal(signal) for the first signal; a second one ends the process at once with 128 + its
// number. Needs     BlockSignals() before.
class SignalThread {
 public:
  explicit SignalThread(std::function<void(int signal)> on_signal);
  ~SignalThread();

 private:
  void Run(const std::function<void(int signal)>& on_signal);

  std::atomic<bool> is_stopping_{false};
  std::thread thread_;
};

}  // namespace bitdial::server
