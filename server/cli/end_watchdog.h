// The last resort of a process that was told to end.
#pragma once

#include <chrono>
#include <future>
#include <thread>

namespace bitdial::server {

// Ends the process with kExitFailure and a message when it has not been destroyed within `time`:
// whoever stops a server whose engine hangs would wait for ever.
class EndWatchdog {
 public:
  explicit EndWatchdog(std::chrono::milliseconds time);
  ~EndWatchdog();

 private:
  void Run(std::chrono::milliseconds time);

  std::promise<void> is_done_;
  std::thread thread_;  // last: it uses the member above
};

}  // namespace bitdial::server
