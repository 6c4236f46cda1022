#include "server/cli/end_watchdog.h"

#include <poll.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "server/cli/command.h"

namespace bitdial::server {

EndWatchdog::EndWatchdog(std::chrono::milliseconds time) : thread_([this, time] { Run(time); }) {}

EndWatchdog::~EndWatchdog() {
  is_done_.set_value();
  thread_.join();
}

void EndWatchdog::Run(std::chrono::milliseconds time) {
  if (is_done_.get_future().wait_for(time) == std::future_status::ready) return;
  const std::string text = fmt::format(
      "bitdial: not at its end {} s after it was told to stop: a step of the engine, a call or the "
      "reader of the log hangs; ending without it\n",
      std::chrono::duration<double>(time).count());
  pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  constexpr int kMilliseconds = 100;  // who does not take the message must not hold up the end
  if (poll(&out, 1, kMilliseconds) == 1 && (out.revents & POLLOUT) != 0) {
    (void)!write(STDERR_FILENO, text.data(), text.size());
  }
  std::_Exit(kExitFailure);
}

}  // namespace bitdial::server
