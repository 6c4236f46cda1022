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

// A client's deadline ends its call on our side and on its own; which comes first says nothing.
constexpr std::chrono::milliseconds kDeadlineSkew{100};

template <typename T>
std::vector<T> TakeSome(std::deque<T>& from, size_t max_count) {
  const auto end = from.begin() + static_cast<std::ptrdiff_t>(std::min(from.size(), max_count));
  std::vector<T> taken(std::make_move_iterator(from.begin()), std::make_move_iterator(end));
  from.erase(from.begin(), end);
  return taken;
}

// "3" or "2..4".
std::string BitsText(const engine::FinishEvent& end) {
  if (end.min_bits == end.prompt_bits) return fmt::format("{}", end.min_bits);
  return fmt::format("{}..{}", end.min_bits, end.prompt_bits);
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
         message.prompt_logprobs().empty() && !message.has_finish();
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StreamCall::Start(grpc::CallbackServerContext& context,
                                                              const Server& server, Method method,
                                                              std::string request_id,
                                                              const Principal& principal,
                                                              ValidRequest request) {
  std::shared_ptr<StreamCall> call(
      new StreamCall(context, server, method, std::move(request_id), principal.name, request));
  call->self_ = call;
  if (const absl::Status status = call->Register(principal, request.request); !status.ok()) {
    call->Refuse(status);
    return call.get();
  }
  call->StartSendInitialMetadata();  // with the request's id: a client may cancel it while it waits
  call->WatchReader(server.slow_reader.timeout + server.slow_reader.grace);
  call->Submit(std::move(request.request));
  return call.get();
}

StreamCall::StreamCall(grpc::CallbackServerContext& context, const Server& server, Method method,
                       std::string request_id, std::string principal, ValidRequest& request)
    : context_(context),
      server_(server),
      method_(method),
      request_id_(std::move(request_id)),
      tag_{request_id_, request.trace_id},
      principal_(std::move(principal)),
      client_request_id_(request.client_request_id),
      weight_bits_(request.request.weight_bits),
      lists_bits_(request.request.auto_bits.has_value()),
      seed_(request.request.sampling.seed),
      deadline_(request.request.deadline),
      tokens_per_message_(TokensPerMessage(request.request.num_top_logprobs)),
      metrics_(server.metrics, request.request),
      echo_(std::make_move_iterator(request.text.echo.begin()),
            std::make_move_iterator(request.text.echo.end())),
      num_unfinished_(static_cast<size_t>(request.request.num_choices)) {
  request.text.echo.clear();
  for (size_t i = 0; i < num_unfinished_; ++i) {
    choices_.emplace_back(server.tokenizer, request.text);
  }
}

absl::Status StreamCall::Register(const Principal& principal, const engine::Request& request) {
  RequestFacts facts = {.request_id = request_id_,
                        .client_request_id = client_request_id_,
                        .principal = principal_,
                        .method = method_,
                        .num_prompt_tokens = static_cast<int32_t>(request.prompt_ids.size()),
                        .weight_bits = weight_bits_};
  const auto cancel = [weak = weak_from_this()](absl::Status reason) {
    if (const std::shared_ptr<StreamCall> call = weak.lock())
      call->StopComputing(std::move(reason));
  };
  BITDIAL_ASSIGN_OR_RETURN(active_, server_.active.Add(std::move(facts), principal, cancel));
  return absl::OkStatus();
}

void StreamCall::Refuse(const absl::Status& status) {
  LogRequest(spdlog::level::info, tag_, "refused: {} key=\"{}\"",
             absl::StatusCodeToString(status.code()), principal_);
  server_.metrics.CountRejected(ReasonOf(status));
  active_.reset();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_over_ = true;
  }
  Finish(ToGrpcStatus(WithRequestId(status, request_id_)));
}

void StreamCall::Submit(engine::Request request) {
  const absl::StatusOr<engine::RequestId> id =
      server_.engine.Submit(std::move(request), shared_from_this());
  if (!id.ok()) {
    absl::Status status = id.status();
    if (status.code() == absl::StatusCode::kResourceExhausted) {
      status = WithQuota(WithReason(status, kReasonQueueFull), "server",
                         "max_queued_requests or max_queued_tokens");
    }
    if (status.code() == absl::StatusCode::kUnavailable)
      status = WithReason(status, kReasonDraining);
    if (status.code() == absl::StatusCode::kInvalidArgument)
      status = WithReason(status, kReasonInvalidField);
    Refuse(status);
    return;
  }
  bool is_stopped = false;
  std::vector<int32_t> stopped_choices;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    engine_id_ = *id;
    is_stopped = is_stopped_;  // stopped before there was an id to cancel
    for (int32_t i = 0; i < std::ssize(choices_); ++i) {
      if (choices_[static_cast<size_t>(i)].is_stopped) stopped_choices.push_back(i);
    }
    if (!echo_.empty()) PostPump();
  }
  if (is_stopped) server_.engine.Cancel(*id);
  for (const int32_t choice : stopped_choices) server_.engine.Cancel(*id, choice);
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
  const std::lock_guard<std::mutex> lock(mutex_);
  Choice& choice = choices_.at(static_cast<size_t>(event.choice));
  if (is_stopped_ || choice.is_stopped) return;
  if (active_ != nullptr) active_->CountToken();
  choice.tokens.push_back(std::move(event));  // IsReady keeps them few
  ++num_unread_;
  PostPump();
}

bool StreamCall::IsReady() {
  const SlowReaderLimits& limits = server_.slow_reader;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const size_t enough =
        paused_since_.has_value() ? limits.max_unread_tokens / 2 + 1 : limits.max_unread_tokens;
    if (is_stopped_ || num_unread_ < enough) {
      paused_since_.reset();
      return true;
    }
    const engine::Clock::time_point now = engine::Clock::now();
    if (!paused_since_.has_value()) paused_since_ = now;
    if (now - *paused_since_ < limits.timeout) return false;
  }
  StopComputing(WithReason(
      ResourceExhausted("the client reads too slowly: {} tokens wait for it (max_unread_tokens), "
                        "and after {} s (slow_reader_timeout_s) still do",
                        limits.max_unread_tokens, limits.timeout.count()),
      kReasonSlowReader));
  return false;
}

void StreamCall::OnFinish(engine::FinishEvent event) {
  metrics_.OnFinish(event);
  std::unique_ptr<ActiveRequest> released;
  {
    // Who was stopped may never read the rest: its place is for others when nothing is computed any
    // more, and free before the client can have read the end.
    const std::lock_guard<std::mutex> lock(mutex_);
    if (++num_ended_ == choices_.size() && is_stopped_) released = std::move(active_);
  }
  released.reset();
  const std::lock_guard<std::mutex> lock(mutex_);
  choices_.at(static_cast<size_t>(event.choice)).end = std::move(event);
  PostPump();
}

void StreamCall::WatchReader(engine::Clock::duration time) {
  // EndUnread sets it again, which destroys the callback that runs: nothing follows it in there.
  watch_.Set(std::chrono::system_clock::now() + time, [weak = weak_from_this()](bool is_time) {
    const std::shared_ptr<StreamCall> call = is_time ? weak.lock() : nullptr;
    if (call != nullptr) call->EndUnread();
  });
}

void StreamCall::EndUnread() {
  const engine::Clock::duration limit = server_.slow_reader.timeout + server_.slow_reader.grace;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (self_ == nullptr) return;
  const engine::Clock::time_point now = engine::Clock::now();
  const engine::Clock::time_point since = writing_since_.value_or(now);
  if (now - since < limit) return WatchReader(since + limit - now);
  if (stop_reason_.ok()) {
    stop_reason_ = WithReason(
        ResourceExhausted("the client has taken no message for {} s (slow_reader_timeout_s + {})",
                          std::chrono::duration_cast<std::chrono::seconds>(limit).count(),
                          server_.slow_reader.grace.count()),
        kReasonSlowReader);
  }
  LogRequest(spdlog::level::info, tag_, "nobody reads: the stream is closed key=\"{}\"", principal_);
  // The lock keeps OnDone, and so the end of the context, away. What this sets off (OnCancel,
  // OnWriteDone) takes the lock too: it runs when this thread of gRPC's has left our callback, which an
  // alarm's does inside an ApplicationCallbackExecCtx. From any other thread this would deadlock.
  context_.TryCancel();
}

void StreamCall::OnWriteDone(bool ok) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    writing_since_.reset();
    if (is_over_) return;
    is_busy_ = false;
  }
  if (!ok) StopComputing(absl::CancelledError("the client is gone"));
  Pump();
}

void StreamCall::OnCancel() {
  const bool is_late = deadline_.has_value() && engine::Clock::now() + kDeadlineSkew >= *deadline_;
  StopComputing(is_late ? absl::DeadlineExceededError("the request's deadline has passed")
                        : absl::CancelledError("the client cancelled"));
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
    if (stop_reason_.ok()) stop_reason_ = std::move(reason);
    for (Choice& choice : choices_) choice.tokens.clear();
    num_unread_ = 0;
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

void StreamCall::StopChoice(int32_t index) {
  std::optional<engine::RequestId> id;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    Choice& choice = choices_[static_cast<size_t>(index)];
    if (choice.is_stopped || is_stopped_ || is_over_) return;
    choice.is_stopped = true;
    num_unread_ -= choice.tokens.size();
    choice.tokens.clear();
    id = engine_id_;
  }
  if (id.has_value()) server_.engine.Cancel(*id, index);
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
  for (; work.choice < std::ssize(choices_); ++work.choice) {
    Choice& choice = choices_[static_cast<size_t>(work.choice)];
    work.tokens = TakeSome(choice.tokens, tokens_per_message_);
    num_unread_ -= work.tokens.size();
    if (choice.tokens.empty() && choice.end.has_value()) {
      work.end = std::exchange(choice.end, std::nullopt);
      work.is_last = --num_unfinished_ == 0;
    }
    if (!work.tokens.empty() || work.end.has_value()) return work;
  }
  return std::nullopt;
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
      is_over_ = work->is_last;
    }
    v1::GenerateResponse message = MakeMessage(*work);
    if (work->end.has_value() && EndChoice(*work, message)) return;
    if (choices_[static_cast<size_t>(work->choice)].stream.stop_matched()) StopChoice(work->choice);
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
  TokenStream& stream = choices_[static_cast<size_t>(work.choice)].stream;
  if (!work.echo.empty()) message.mutable_delta()->set_text(work.echo);
  for (const engine::PromptLogprob& logprob : work.prompt_logprobs) {
    *message.add_prompt_logprobs() = ToWire(server_.tokenizer, logprob.token, logprob.top);
  }
  for (const engine::TokenEvent& token : work.tokens) {
    const bool counts = !stream.stop_matched();
    stream.Push(token, *message.mutable_delta());
    if (lists_bits_ && counts) message.mutable_delta()->add_weight_bits(token.bits);
  }
  if (work.end.has_value()) stream.Flush(*message.mutable_delta());
  if (message.has_delta()) message.mutable_delta()->set_index(work.choice);
  if (!has_sent_first_ && (work.end.has_value() || !IsEmpty(message))) {
    message.set_request_id(request_id_);
    has_sent_first_ = true;
  }
  return message;
}

void StreamCall::LogEnd(const engine::FinishEvent& end, const absl::Status& status) const {
  const TokenStream& stream = choices_[static_cast<size_t>(end.choice)].stream;
  LogRequest(
      spdlog::level::info, tag_,
      "ended: status={} key=\"{}\" choice={} reason=\"{}\" bits={} prompt_tokens={} cached={} "
      "tokens={} computed={} preemptions={} queue_s={:.4f} prefill_s={:.4f} decode_s={:.4f}{}",
      absl::StatusCodeToString(status.code()), principal_, end.choice,
      stream.stop_matched() ? "stop string" : Name(end.reason),
      // The server was to choose, and the end came first.
      lists_bits_ && end.prompt_bits == 0 ? "none" : BitsText(end),
      end.num_prompt_tokens, end.num_cached_tokens, stream.num_tokens(), end.num_generated_tokens,
      end.num_preemptions, end.queue_s, end.prefill_s, end.decode_s,
      // Last, because the client chose it: nothing comes after it that it could pretend to be.
      client_request_id_.empty() ? ""
                                 : fmt::format(" client_request_id=\"{}\"", client_request_id_));
}

// Adds a choice's end to its last message; true when that ended the call too.
bool StreamCall::EndChoice(const Work& work, v1::GenerateResponse& message) {
  const engine::FinishEvent& end = *work.end;
  const TokenStream& stream = choices_[static_cast<size_t>(work.choice)].stream;
  const absl::Status status = EndStatus(end);
  LogEnd(end, status);
  if (!has_failed_) end_reason_ = stream.stop_matched() ? "stop" : Name(end.reason);
  has_failed_ = has_failed_ || !status.ok();
  if (status.ok()) {
    *message.mutable_finish() = MakeFinish(end);
  } else {
    StopComputing(status);  // the call ends with it, so the other choices have nobody to tell
  }
  if (!work.is_last) return false;
  std::unique_ptr<ActiveRequest> released;  // let go after the lock
  absl::Status call_status;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    call_status = status.ok() && choices_.size() > 1 ? stop_reason_ : status;
    released = std::move(active_);
  }
  metrics_.OnEnd(absl::StatusCodeToString(call_status.code()), end_reason_);
  released.reset();  // before the client can have read the end: then the name is free
  const grpc::Status wire_status = ToGrpcStatus(WithRequestId(call_status, request_id_));
  if (!call_status.ok() && IsEmpty(message)) {
    Finish(wire_status);
    return true;
  }
  HandOver(std::move(message));  // what was made before an error is the client's
  StartWriteAndFinish(&buffer_, grpc::WriteOptions(), wire_status);
  return true;
}

void StreamCall::HandOver(v1::GenerateResponse message) {
  grpc::ByteBuffer encoded = Encode(std::move(message), method_);
  // The lock publishes what this thread did with the stream to the one that runs OnWriteDone.
  const std::lock_guard<std::mutex> lock(mutex_);
  buffer_ = std::move(encoded);
  writing_since_ = engine::Clock::now();
}

absl::Status StreamCall::EndStatus(const engine::FinishEvent& end) {
  if (choices_[static_cast<size_t>(end.choice)].stream.stop_matched())
    return absl::OkStatus();  // however the computing ended after that
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
  const TokenStream& stream = choices_[static_cast<size_t>(end.choice)].stream;
  v1::Finish finish;
  finish.set_index(end.choice);
  if (stream.stop_matched()) {
    finish.set_reason(v1::FINISH_REASON_STOP);
    finish.set_stop(stream.stop());
  } else if (end.reason == engine::FinishReason::kStopToken) {
    finish.set_reason(v1::FINISH_REASON_STOP);
    finish.set_stop_token_id(stream.last_token_id());
  } else {
    finish.set_reason(end.reason == engine::FinishReason::kEos ? v1::FINISH_REASON_EOS
                                                               : v1::FINISH_REASON_LENGTH);
  }
  finish.mutable_usage()->set_prompt_tokens(end.num_prompt_tokens);
  finish.mutable_usage()->set_completion_tokens(stream.num_tokens());
  finish.mutable_usage()->set_cached_prompt_tokens(end.num_cached_tokens);
  finish.mutable_usage()->set_preemptions(end.num_preemptions);
  finish.mutable_timings()->set_queue_s(end.queue_s);
  finish.mutable_timings()->set_prefill_s(end.prefill_s);
  finish.mutable_timings()->set_decode_s(end.decode_s);
  finish.set_weight_bits(end.min_bits);
  finish.set_prompt_weight_bits(end.prompt_bits);
  finish.set_seed(seed_);
  return finish;
}

}  // namespace bitdial::server
