#include "server/cli/end_watchdog.h"

#include <cstdio>
#include <cstdlib>

#include "server/cli/command.h"

namespace bitdial::server {

EndWatchdog::EndWatchdog(std::chrono::milliseconds time) : thread_([this, time] { Run(time); }) {}

EndWatchdog::~EndWatchdog() {
  is_done_.set_value();
  thread_.join();
}

void EndWatchdog::Run(std::chrono::milliseconds time) {
  if (is_done_.get_future().wait_for(time) == std::future_status::ready) return;
  fmt::print(stderr,
             "bitdial: not at its end {} s after it was told to stop: a step of the engine or a call "
             "hangs; ending without it\n",
             std::chrono::duration<double>(time).count());
  std::fflush(stderr);
  std::_Exit(kExitFailure);
}

}  // namespace bitdial::server
