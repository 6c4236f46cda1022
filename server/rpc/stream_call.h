// One Generate or Chat call: from the engine's events to messages on the wire.
//
//   engine thread        OnToken, OnFinish: put the event into a bounded queue, post a task;
//   nothing else writer thread, gRPC  Pump: events -> text -> one message -> StartWrite; one
//   message in flight at a time gRPC                 OnWriteDone: the next message.  OnCancel: the
//   client is gone, stop computing
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "bitdial/v1/inference.pb.h"
#include "engine/engine.h"
#include "server/config/logging.h"
#include "server/metrics/request_metrics.h"
#include "server/rpc/active_requests.h"
#include "server/rpc/token_stream.h"
#include "server/rpc/validator.h"
#include "server/rpc/writer_thread.h"

namespace bitdial::server {

// When a client's request is paused, and how long before it ends.
struct SlowReaderLimits {
  size_t max_unread_tokens;
  std::chrono::seconds timeout;
  // Then it has so long to read why; who reads nothing loses the stream.
  std::chrono::seconds grace{5};
};

// Slow clients: events wait in the queue while a message is being written. When max_unread_tokens
// wait, the request is paused until half of them are gone, or it has been so for too long and ends
// with RESOURCE_EXHAUSTED; the others are never held up. A message that nobody takes for longer still,
// also the last one, ends the stream. The call always outlives the computing: it ends after the
// engine's OnFinish, so an ended call costs nothing more.
class StreamCall final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                         public engine::EventSink,
                         public std::enable_shared_from_this<StreamCall> {
 public:
  // What a call needs of the server; all of it outlives every call.
  struct Server {
    engine::Engine& engine;
    const Tokenizer& tokenizer;
    WriterThread& writer;
    ActiveRequests& active;
    Metrics& metrics;
    SlowReaderLimits slow_reader;
  };

  // Submits the request; a refusal ends the call with its status. gRPC owns the reactor returned, and
  // the context until OnDone.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(grpc::CallbackServerContext& context,
                                                           const Server& server, Method method,
                                                           std::string request_id,
                                                           const Principal& principal,
                                                           ValidRequest request);

  void OnPromptLogprobs(std::vector<engine::PromptLogprob> logprobs) override;
  void OnToken(engine::TokenEvent event) override;
  void OnFinish(engine::FinishEvent event) override;
  bool IsReady() override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // One of the n answers.
  struct Choice {
    Choice(const Tokenizer& tokenizer, const TextOptions& text) : stream(tokenizer, text) {}
    // Held by whoever set is_busy_.
    TokenStream stream;
    // Under mutex_.
    std::deque<engine::TokenEvent> tokens;
    std::optional<engine::FinishEvent> end;
    bool is_stopped = false;  // its computing was stopped: a stop string matched
  };
  // What one message is made of.
  struct Work {
    int32_t choice = 0;
    std::string echo;
    std::vector<engine::PromptLogprob> prompt_logprobs;
    std::vector<engine::TokenEvent> tokens;
    std::optional<engine::FinishEvent> end;  // with the choice's last events
    bool is_last = false;                    // no choice is left after it
  };

  StreamCall(grpc::CallbackServerContext& context, const Server& server, Method method,
             std::string request_id, std::string principal, ValidRequest& request);
  // Looks after `time` whether a message is in flight for too long.
  void WatchReader(engine::Clock::duration time);
  void EndUnread();
  // Takes a place among the active requests.
  absl::Status Register(const Principal& principal, const engine::Request& request);
  void Submit(engine::Request request);
  void Refuse(const absl::Status& status);

  // Makes and sends the next message if none is in flight and there is something to say.
  void Pump();
  void PostPump();                 // needs mutex_; at most one task is queued
  std::optional<Work> TakeWork();  // needs mutex_
  v1::GenerateResponse MakeMessage(const Work& work);
  void HandOver(v1::GenerateResponse message);  // makes it the buffer_ to be written
  bool EndChoice(const Work& work, v1::GenerateResponse& message);
  void LogEnd(const engine::FinishEvent& end, const absl::Status& status) const;
  absl::Status EndStatus(const engine::FinishEvent& end);
  v1::Finish MakeFinish(const engine::FinishEvent& end) const;
  void StopChoice(int32_t choice);
  // Ends the computing of all; `reason` becomes the call's status. The first reason stays.
  void StopComputing(absl::Status reason);

  grpc::CallbackServerContext& context_;
  const Server server_;
  const Method method_;
  const std::string request_id_;
  const LogTag tag_;
  const std::string principal_;
  const std::string client_request_id_;
  const int weight_bits_;  // asked for; not with auto_bits
  const bool lists_bits_;  // of each token: the server chooses them
  const uint64_t seed_;
  const std::optional<engine::Clock::time_point> deadline_;
  const size_t tokens_per_message_;
  std::shared_ptr<StreamCall> self_;  // until OnDone; under mutex_
  // Until the last message is handed over: who has read that may use the request's name again.
  std::unique_ptr<ActiveRequest> active_;

  RequestMetrics metrics_;

  std::deque<Choice> choices_;  // [n]
  // Held by whoever set is_busy_.
  std::deque<std::string> echo_;
  bool has_sent_first_ = false;
  bool has_failed_ = false;  // a choice has
  std::string end_reason_;   // of the first choice that failed, or else of the last
  grpc::ByteBuffer buffer_;  // the message in flight

  std::mutex mutex_;
  std::deque<engine::PromptLogprob> prompt_logprobs_;
  size_t num_unread_ = 0;      // tokens of all choices
  std::optional<engine::Clock::time_point> paused_since_;
  std::optional<engine::Clock::time_point> writing_since_;  // the message in flight
  grpc::Alarm watch_;          // looks at it from time to time
  size_t num_unfinished_ = 0;  // choices whose end is not in a message yet
  size_t num_ended_ = 0;       // choices whose computing has ended
  std::optional<engine::RequestId> engine_id_;
  absl::Status stop_reason_;  // why computing was stopped by us; OK: it was not
  bool is_stopped_ = false;   // the computing of all choices was stopped by us
  bool is_posted_ = false;    // a Pump is queued on the writer thread
  bool is_busy_ = false;      // a message is being made or written
  bool is_over_ = false;      // Finish was called or is about to be
};

}  // namespace bitdial::server
