// An EventSink for commands that wait for one request: the engine's events, popped by the caller's
// thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <variant>
#include <vector>

#include "engine/request.h"

namespace bitdial::server {

// Bounded by the request itself: at most one event per token.
// Thread   events come from the engine thread; Pop is the caller's.
class EventQueue : public engine::EventSink {
 public:
  using Event =
      std::variant<std::vector<engine::PromptLogprob>, engine::TokenEvent, engine::FinishEvent>;

  void OnPromptLogprobs(std::vector<engine::PromptLogprob> logprobs) override {
    Push(std::move(logprobs));
  }
  void OnToken(engine::TokenEvent event) override { Push(std::move(event)); }
  void OnFinish(engine::FinishEvent event) override { Push(std::move(event)); }

  // Waits for the next event. The last one is a FinishEvent; popping past it would wait forever.
  Event Pop() {
    std::unique_lock lock(mutex_);
    is_ready_.wait(lock, [&] { return !events_.empty(); });
    Event event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

 private:
  void Push(Event event) {
    {
      std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
    }
    is_ready_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable is_ready_;
  std::deque<Event> events_;
};

}  // namespace bitdial::server
