#include "server/cli/load/load_stream.h"

#include "absl/status/status.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace bitdial::server {
namespace {

// ErrorInfo.reason of the status; empty when there is none: then gRPC itself made the status.
std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return "";
  google::rpc::ErrorInfo info;
  for (const auto& any : details.details()) {
    if (any.Is<google::rpc::ErrorInfo>() && any.UnpackTo(&info)) return info.reason();
  }
  return "";
}

// Greedy, and as long as asked for: lengths are what the load says, whatever the model wants.
v1::GenerateRequest MakeMessage(const LoadRequest& request, const std::vector<int32_t>& ids) {
  v1::GenerateRequest message;
  message.mutable_token_ids()->mutable_ids()->Add(ids.begin(), ids.end());
  v1::RequestParams& params = *message.mutable_params();
  params.mutable_sampling()->set_temperature(0);
  params.mutable_stopping()->set_max_tokens(request.output_tokens);
  params.mutable_stopping()->set_ignore_eos(true);
  params.mutable_output()->set_token_ids(true);
  const BitsWish& wish = request.bits;
  if (wish.kind == BitsWish::Kind::kFixed) params.set_weight_bits(wish.bits);
  if (wish.kind == BitsWish::Kind::kAuto) {
    params.mutable_auto_bits();
    if (wish.bits > 0) params.mutable_auto_bits()->set_min_bits(wish.bits);
  }
  return message;
}

}  // namespace

LoadStream::LoadStream(const LoadRequest& request, const std::vector<int32_t>& prompt_ids,
                       SteadyTime load_start, OnDoneFunction on_done)
    : load_start_(load_start),
      on_done_(std::move(on_done)),
      message_(MakeMessage(request, prompt_ids)) {
  outcome_.request = request;
}

void LoadStream::Start(const Connection& connection, v1::InferenceService::Stub& stub,
                       std::optional<int64_t> deadline_ms) {
  connection.Prepare(context_);
  if (deadline_ms) {
    context_.set_deadline(std::chrono::system_clock::now() +
                          std::chrono::milliseconds(*deadline_ms));
  }
  outcome_.sent_s = NowS();
  stub.async()->Generate(&context_, &message_, this);
  StartRead(&response_);
  StartCall();
}

void LoadStream::Cancel() {
  is_cancelled_ = true;
  context_.TryCancel();
}

void LoadStream::OnReadDone(bool ok) {
  if (!ok) return;
  const double now_s = NowS();
  const v1::OutputDelta& delta = response_.delta();
  if (delta.token_ids_size() > 0) {
    outcome_.messages.push_back({now_s, delta.token_ids_size()});
  }
  for (const int32_t bits : delta.weight_bits()) ++outcome_.tokens_by_bits[bits];
  if (response_.has_finish()) {
    const v1::Finish& finish = response_.finish();
    has_finish_ = true;
    outcome_.cached_prompt_tokens = finish.usage().cached_prompt_tokens();
    outcome_.preemptions = finish.usage().preemptions();
    if (outcome_.tokens_by_bits.empty()) {  // the bits are fixed
      outcome_.tokens_by_bits[finish.weight_bits()] = outcome_.NumTokens();
    }
  }
  StartRead(&response_);
}

Ending LoadStream::EndingOf(const grpc::Status& status) {
  const int64_t num_tokens = outcome_.NumTokens();
  if (status.ok()) {
    if (has_finish_ && num_tokens == outcome_.request.output_tokens) return Ending::kOk;
    outcome_.reason = "SHORT_ANSWER";
    outcome_.explanation = "got " + std::to_string(num_tokens) + " tokens, asked for " +
                           std::to_string(outcome_.request.output_tokens);
    return Ending::kFailed;
  }
  if (is_cancelled_ && status.error_code() == grpc::StatusCode::CANCELLED) {
    return Ending::kUnfinished;
  }
  const bool is_refusal = status.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED &&
                          status.error_code() != grpc::StatusCode::INTERNAL;
  return is_refusal && num_tokens == 0 && !outcome_.reason.empty() ? Ending::kRejected
                                                                   : Ending::kFailed;
}

void LoadStream::OnDone(const grpc::Status& status) {
  outcome_.end_s = NowS();
  outcome_.code = absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()));
  outcome_.reason = ReasonOf(status);
  outcome_.explanation = status.error_message();
  outcome_.ending = EndingOf(status);
  const OnDoneFunction on_done = std::move(on_done_);  // outlives this stream
  on_done(this, std::move(outcome_));
}

double LoadStream::NowS() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - load_start_).count();
}

}  // namespace bitdial::server
