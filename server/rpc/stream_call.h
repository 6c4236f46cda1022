// One Generate or Chat call: from the engine's events to messages on the wire.
//
//   engine thread        OnToken, OnFinish: put the event into a bounded queue, post a task;
//   nothing else writer thread, gRPC  Pump: events -> text -> one message -> StartWrite; one
//   message in flight at a time gRPC                 OnWriteDone: the next message.  OnCancel: the
//   client is gone, stop computing
#pragma once

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
#include "server/rpc/token_stream.h"
#include "server/rpc/validator.h"
#include "server/rpc/writer_thread.h"

namespace bitdial::server {

enum class Method { kGenerate, kChat };

// Slow clients: events wait in the queue while a message is being written. When max_unread_tokens
// wait, the request is cancelled and the call ends with RESOURCE_EXHAUSTED; the engine is never
// held up. The call always outlives the computing: it ends after the engine's OnFinish, so an ended
// call costs nothing more.
class StreamCall final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                         public engine::EventSink,
                         public std::enable_shared_from_this<StreamCall> {
 public:
  // What a call needs of the server; all of it outlives every call.
  struct Server {
    engine::Engine& engine;
    const Tokenizer& tokenizer;
    WriterThread& writer;
    Metrics& metrics;
    size_t max_unread_tokens;
  };

  // Submits the request; a refusal ends the call with its status. gRPC owns the reactor returned.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(const Server& server, Method method,
                                                           std::string request_id,
                                                           ValidRequest request);

  void OnPromptLogprobs(std::vector<engine::PromptLogprob> logprobs) override;
  void OnToken(engine::TokenEvent event) override;
  void OnFinish(engine::FinishEvent event) override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // What one message is made of.
  struct Work {
    std::string echo;
    std::vector<engine::PromptLogprob> prompt_logprobs;
    std::vector<engine::TokenEvent> tokens;
    std::optional<engine::FinishEvent> end;  // with the last events
  };

  StreamCall(const Server& server, Method method, std::string request_id, ValidRequest& request);
  void Submit(engine::Request request);

  // Makes and sends the next message if none is in flight and there is something to say.
  void Pump();
  void PostPump();                 // needs mutex_; at most one task is queued
  std::optional<Work> TakeWork();  // needs mutex_
  v1::GenerateResponse MakeMessage(const Work& work);
  void HandOver(v1::GenerateResponse message);  // makes it the buffer_ to be written
  void End(const engine::FinishEvent& end, v1::GenerateResponse message);
  absl::Status EndStatus(const engine::FinishEvent& end);
  v1::Finish MakeFinish(const engine::FinishEvent& end) const;
  // Ends the computing; `reason` becomes the call's status. The first reason stays.
  void StopComputing(absl::Status reason);

  const Server server_;
  const Method method_;
  const std::string request_id_;
  const LogTag tag_;
  const int weight_bits_;
  const uint64_t seed_;
  const size_t tokens_per_message_;
  std::shared_ptr<StreamCall> self_;  // until OnDone

  RequestMetrics metrics_;

  // Held by whoever set is_busy_.
  TokenStream stream_;
  std::deque<std::string> echo_;
  bool has_sent_first_ = false;
  grpc::ByteBuffer buffer_;  // the message in flight

  std::mutex mutex_;
  std::deque<engine::PromptLogprob> prompt_logprobs_;
  std::deque<engine::TokenEvent> tokens_;
  std::optional<engine::FinishEvent> end_;
  std::optional<engine::RequestId> engine_id_;
  absl::Status stop_reason_;  // why computing was stopped by us; OK: it was not
  bool is_stopped_ = false;   // computing was stopped by us, also because a stop string matched
  bool is_posted_ = false;    // a Pump is queued on the writer thread
  bool is_busy_ = false;      // a message is being made or written
  bool is_over_ = false;      // Finish was called
};

}  // namespace bitdial::server
