// An EventSink that keeps what it was told. Thread-safe: the engine writes, the test waits.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "engine/request.h"

namespace bitdial::testing {

class RecordingSink : public engine::EventSink {
 public:
  // Called on the engine thread before a token is recorded; may block, which stops the engine.
  std::function<void()> before_token;

  void OnPromptLogprobs(std::vector<engine::PromptLogprob> logprobs) override {
    std::lock_guard lock(mutex_);
    for (auto& logprob : logprobs) prompt_logprobs_.push_back(std::move(logprob));
  }
  void OnToken(engine::TokenEvent event) override {
    if (before_token) before_token();
    std::lock_guard lock(mutex_);
    tokens_.push_back(std::move(event));
  }
  void OnFinish(engine::FinishEvent event) override {
    std::lock_guard lock(mutex_);
    ++num_finishes_;
    finish_ = std::move(event);
    finished_.notify_all();
  }

  // The last event, nullopt when none came within 30 s (a hang fails the test instead of the
  // suite's time limit).
  std::optional<engine::FinishEvent> WaitFinish() {
    std::unique_lock lock(mutex_);
    finished_.wait_for(lock, std::chrono::seconds(30), [this] { return num_finishes_ > 0; });
    return finish_;
  }
  std::optional<engine::FinishEvent> finish() const {
    std::lock_guard lock(mutex_);
    return finish_;
  }
  int num_finishes() const {
    std::lock_guard lock(mutex_);
    return num_finishes_;
  }
  std::vector<engine::TokenEvent> tokens() const {
    std::lock_guard lock(mutex_);
    return tokens_;
  }
  std::vector<engine::PromptLogprob> prompt_logprobs() const {
    std::lock_guard lock(mutex_);
    return prompt_logprobs_;
  }
  std::vector<int32_t> ids() const {
    std::vector<int32_t> ids;
    for (const auto& token : tokens()) ids.push_back(token.token_id);
    return ids;
  }
  std::vector<uint64_t> hashes() const {
    std::vector<uint64_t> hashes;
    for (const auto& token : tokens()) hashes.push_back(token.logits_hash);
    return hashes;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable finished_;
  std::vector<engine::TokenEvent> tokens_;
  std::vector<engine::PromptLogprob> prompt_logprobs_;
  std::optional<engine::FinishEvent> finish_;
  int num_finishes_ = 0;
};

}  // namespace bitdial::testing
