#include "server/cli/signals.h"

#include <pthread.h>

#include <csignal>
#include <cstdlib>
#include <utility>

namespace bitdial::server {
namespace {

// SIGHUP with them: it asks for nothing that does not happen by itself (keys and certificates are
// watched), and must not end the process as it does unless it is taken.
sigset_t TakenSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGHUP);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

}  // namespace

void BlockSignals() {
  const sigset_t signals = TakenSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

SignalThread::SignalThread(std::function<void(int signal)> on_signal)
    : thread_([this, on_signal = std::move(on_signal)] { Run(on_signal); }) {}

SignalThread::~SignalThread() {
  is_stopping_ = true;
  pthread_kill(thread_.native_handle(), SIGTERM);  // wakes sigwait
  thread_.join();
}

void SignalThread::Run(const std::function<void(int signal)>& on_signal) {
  const sigset_t signals = TakenSignals();
  bool is_ending = false;
  for (;;) {
    int signal = 0;
    sigwait(&signals, &signal);
    if (is_stopping_) return;
    if (signal == SIGHUP) continue;
    if (std::exchange(is_ending, true)) std::_Exit(128 + signal);
    on_signal(signal);
  }
}

}  // namespace bitdial::server
