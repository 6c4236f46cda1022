#include "server/rpc/stream_call.h"

#include <algorithm>
#include <utility>

#include "server/rpc/byte_buffer.h"
#include "server/rpc/rpc_status.h"

namespace bitdial::server {
namespace {

// Tokens and log-probability entries of one message: far below the 4 MiB a client takes by default.
constexpr int32_t kMaxTokensPerMessage = 256;
constexpr int32_t kMaxEntriesPerMessage = 8192;

size_t TokensPerMessage(int32_t num_top_logprobs) {
  return static_cast<size_t>(
      std::clamp(kMaxEntriesPerMessage / (num_top_logprobs + 2), 1, kMaxTokensPerMessage));
}

template <typename T>
std::vector<T> TakeSome(std::deque<T>& from, size_t max_count) {
  const auto end = from.begin() + static_cast<std::ptrdiff_t>(std::min(from.size(), max_count));
  std::vector<T> taken(std::make_move_iterator(from.begin()), std::make_move_iterator(end));
  from.erase(from.begin(), end);
  return taken;
}

grpc::ByteBuffer Encode(v1::GenerateResponse message, Method method) {
  if (method == Method::kGenerate) return ToByteBuffer(message);
  v1::ChatResponse chat;
  chat.set_request_id(message.request_id());
  if (message.has_delta()) *chat.mutable_delta() = std::move(*message.mutable_delta());
  if (message.has_finish()) *chat.mutable_finish() = std::move(*message.mutable_finish());
  return ToByteBuffer(chat);
}

bool IsEmpty(const v1::GenerateResponse& message) {
  const v1::OutputDelta& delta = message.delta();
  return delta.text().empty() && delta.token_ids().empty() && delta.logprobs().empty() &&
         message.prompt_logprobs().empty();
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StreamCall::Start(const Server& server, Method method,
                                                              std::string request_id,
                                                              ValidRequest request) {
  std::shared_ptr<StreamCall> call(new StreamCall(server, method, std::move(request_id), request));
  call->self_ = call;
  call->Submit(std::move(request.request));
  return call.get();
}

StreamCall::StreamCall(const Server& server, Method method, std::string request_id,
                       ValidRequest& request)
    : server_(server),
      method_(method),
      request_id_(std::move(request_id)),
      tag_{request_id_, request.trace_id},
      weight_bits_(request.request.weight_bits),
      seed_(request.request.sampling.seed),
      tokens_per_message_(TokensPerMessage(request.request.num_top_logprobs)),
      metrics_(server.metrics, request.request),
      stream_(server.tokenizer, request.text),
      echo_(std::make_move_iterator(request.text.echo.begin()),
            std::make_move_iterator(request.text.echo.end())) {}

void StreamCall::Submit(engine::Request request) {
  const absl::StatusOr<engine::RequestId> id =
      server_.engine.Submit(std::move(request), shared_from_this());
  if (!id.ok()) {
    absl::Status status = id.status();
    if (status.code() == absl::StatusCode::kResourceExhausted)
      status = WithReason(status, kReasonQueueFull);
    if (status.code() == absl::StatusCode::kUnavailable)
      status = WithReason(status, kReasonDraining);
    if (status.code() == absl::StatusCode::kInvalidArgument)
      status = WithReason(status, kReasonInvalidField);
    LogRequest(spdlog::level::info, tag_, "refused: {}", absl::StatusCodeToString(status.code()));
    server_.metrics.CountRejected(ReasonOf(status));
    is_over_ = true;
    Finish(ToGrpcStatus(status));
    return;
  }
  bool is_stopped = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    engine_id_ = *id;
    is_stopped = is_stopped_;  // stopped before there was an id to cancel
    if (!echo_.empty()) PostPump();
  }
  if (is_stopped) server_.engine.Cancel(*id);
}

void StreamCall::OnPromptLogprobs(std::vector<engine::PromptLogprob> logprobs) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (is_stopped_) return;
  // At most one per prompt token: bounded by the request itself.
  std::move(logprobs.begin(), logprobs.end(), std::back_inserter(prompt_logprobs_));
  PostPump();
}

void StreamCall::OnToken(engine::TokenEvent event) {
  metrics_.OnToken(event);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (is_stopped_) return;
    if (tokens_.size() < server_.max_unread_tokens) {
      tokens_.push_back(std::move(event));
      PostPump();
      return;
    }
  }
  StopComputing(WithReason(
      ResourceExhausted("the client reads too slowly: {} tokens wait for it (max_unread_tokens)",
                        server_.max_unread_tokens),
      kReasonSlowReader));
}

void StreamCall::OnFinish(engine::FinishEvent event) {
  metrics_.OnFinish(event);
  const std::lock_guard<std::mutex> lock(mutex_);
  end_ = std::move(event);
  PostPump();
}

void StreamCall::OnWriteDone(bool ok) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (is_over_) return;
    is_busy_ = false;
  }
  if (!ok) StopComputing(absl::CancelledError("the client is gone"));
  Pump();
}

void StreamCall::OnCancel() {
  StopComputing(absl::CancelledError("the client cancelled, or its deadline passed"));
}

void StreamCall::OnDone() {
  std::shared_ptr<StreamCall> self;
  const std::lock_guard<std::mutex> lock(mutex_);
  self.swap(self_);  // let go after the lock
}

void StreamCall::StopComputing(absl::Status reason) {
  std::optional<engine::RequestId> id;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (is_stopped_ || is_over_) return;
    is_stopped_ = true;
    stop_reason_ = std::move(reason);
    tokens_.clear();
    prompt_logprobs_.clear();
    id = engine_id_;
  }
  // Not under our lock: the engine takes its own, and calls us while it holds it or not.
  if (id.has_value()) server_.engine.Cancel(*id);
}

void StreamCall::PostPump() {
  if (is_posted_ || is_busy_ || is_over_) return;  // OnWriteDone pumps after a write
  is_posted_ = true;
  server_.writer.Post([call = shared_from_this()] {
    {
      const std::lock_guard<std::mutex> lock(call->mutex_);
      call->is_posted_ = false;
    }
    call->Pump();
  });
}

std::optional<StreamCall::Work> StreamCall::TakeWork() {
  Work work;
  if (!echo_.empty() && stop_reason_.ok()) {
    work.echo = std::move(echo_.front());
    echo_.pop_front();
    return work;
  }
  if (!prompt_logprobs_.empty()) {
    work.prompt_logprobs = TakeSome(prompt_logprobs_, tokens_per_message_);
    return work;
  }
  work.tokens = TakeSome(tokens_, tokens_per_message_);
  if (tokens_.empty() && end_.has_value()) work.end = std::move(end_);
  if (work.tokens.empty() && !work.end.has_value()) return std::nullopt;
  return work;
}

void StreamCall::Pump() {
  for (;;) {
    std::optional<Work> work;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (is_busy_ || is_over_) return;
      work = TakeWork();
      if (!work.has_value()) return;
      is_busy_ = true;
      is_over_ = work->end.has_value();
    }
    v1::GenerateResponse message = MakeMessage(*work);
    if (work->end.has_value()) {
      End(*work->end, std::move(message));
      return;
    }
    if (stream_.stop_matched()) StopComputing(absl::OkStatus());
    if (!IsEmpty(message)) {
      HandOver(std::move(message));
      StartWrite(&buffer_);
      return;
    }
    const std::lock_guard<std::mutex> lock(mutex_);  // all of it was held back
    is_busy_ = false;
  }
}

v1::GenerateResponse StreamCall::MakeMessage(const Work& work) {
  v1::GenerateResponse message;
  if (!work.echo.empty()) message.mutable_delta()->set_text(work.echo);
  for (const engine::PromptLogprob& logprob : work.prompt_logprobs) {
    *message.add_prompt_logprobs() = ToWire(server_.tokenizer, logprob.token, logprob.top);
  }
  for (const engine::TokenEvent& token : work.tokens) stream_.Push(token, *message.mutable_delta());
  if (work.end.has_value()) stream_.Flush(*message.mutable_delta());
  if (!has_sent_first_ && (work.end.has_value() || !IsEmpty(message))) {
    message.set_request_id(request_id_);
    has_sent_first_ = true;
  }
  return message;
}

void StreamCall::End(const engine::FinishEvent& end, v1::GenerateResponse message) {
  const absl::Status status = EndStatus(end);
  metrics_.OnEnd(absl::StatusCodeToString(status.code()),
                 stream_.stop_matched() ? "stop" : Name(end.reason));
  LogRequest(spdlog::level::info, tag_,
             "ended: status={} reason=\"{}\" bits={} prompt_tokens={} tokens={} computed={} "
             "queue_s={:.4f} prefill_s={:.4f} "
             "decode_s={:.4f}",
             absl::StatusCodeToString(status.code()),
             stream_.stop_matched() ? "stop string" : Name(end.reason), weight_bits_,
             end.num_prompt_tokens, stream_.num_tokens(), end.num_generated_tokens, end.queue_s,
             end.prefill_s, end.decode_s);
  if (status.ok()) *message.mutable_finish() = MakeFinish(end);
  if (!status.ok() && IsEmpty(message)) {
    Finish(ToGrpcStatus(status));
    return;
  }
  HandOver(std::move(message));  // what was made before an error is the client's
  StartWriteAndFinish(&buffer_, grpc::WriteOptions(), ToGrpcStatus(status));
}

void StreamCall::HandOver(v1::GenerateResponse message) {
  grpc::ByteBuffer encoded = Encode(std::move(message), method_);
  // The lock publishes what this thread did with the stream to the one that runs OnWriteDone.
  const std::lock_guard<std::mutex> lock(mutex_);
  buffer_ = std::move(encoded);
}

absl::Status StreamCall::EndStatus(const engine::FinishEvent& end) {
  if (stream_.stop_matched()) return absl::OkStatus();  // however the computing ended after that
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!stop_reason_.ok()) return stop_reason_;
  }
  switch (end.reason) {
    case engine::FinishReason::kEos:
    case engine::FinishReason::kStopToken:
    case engine::FinishReason::kLength:
      return absl::OkStatus();
    case engine::FinishReason::kCancelled:
      if (end.status.ok()) return absl::CancelledError("cancelled");
      return end.status.code() == absl::StatusCode::kUnavailable
                 ? WithReason(end.status, kReasonDraining)
                 : end.status;
    case engine::FinishReason::kDeadline:
      return end.status.ok() ? absl::DeadlineExceededError("the request's deadline has passed")
                             : end.status;
    case engine::FinishReason::kError:
      break;
  }
  return end.status.ok() ? Internal("the engine ended the request without a reason") : end.status;
}

v1::Finish StreamCall::MakeFinish(const engine::FinishEvent& end) const {
  v1::Finish finish;
  if (stream_.stop_matched()) {
    finish.set_reason(v1::FINISH_REASON_STOP);
    finish.set_stop(stream_.stop());
  } else if (end.reason == engine::FinishReason::kStopToken) {
    finish.set_reason(v1::FINISH_REASON_STOP);
    finish.set_stop_token_id(stream_.last_token_id());
  } else {
    finish.set_reason(end.reason == engine::FinishReason::kEos ? v1::FINISH_REASON_EOS
                                                               : v1::FINISH_REASON_LENGTH);
  }
  finish.mutable_usage()->set_prompt_tokens(end.num_prompt_tokens);
  finish.mutable_usage()->set_completion_tokens(stream_.num_tokens());
  finish.mutable_timings()->set_queue_s(end.queue_s);
  finish.mutable_timings()->set_prefill_s(end.prefill_s);
  finish.mutable_timings()->set_decode_s(end.decode_s);
  finish.set_weight_bits(weight_bits_);
  finish.set_seed(seed_);
  return finish;
}

}  // namespace bitdial::server
