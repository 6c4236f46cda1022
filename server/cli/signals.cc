#include "server/cli/signals.h"

#include <pthread.h>

#include <csignal>
#include <cstdlib>
#include <utility>

namespace bitdial::server {
namespace {

sigset_t EndingSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

}  // namespace

void BlockSignals() {
  const sigset_t signals = EndingSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

void IgnoreForServing() {
  std::signal(SIGHUP, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
}

SignalThread::SignalThread(std::function<void(int signal)> on_signal)
    : thread_([this, on_signal = std::move(on_signal)] { Run(on_signal); }) {}

SignalThread::~SignalThread() {
  is_stopping_ = true;
  pthread_kill(thread_.native_handle(), SIGTERM);  // wakes sigwait
  thread_.join();
}

void SignalThread::Run(const std::function<void(int signal)>& on_signal) {
  const sigset_t signals = EndingSignals();
  bool is_ending = false;
  for (;;) {
    int signal = 0;
    sigwait(&signals, &signal);
    if (is_stopping_) return;
    if (std::exchange(is_ending, true)) std::_Exit(128 + signal);
    on_signal(signal);
  }
}

}  // namespace bitdial::server
