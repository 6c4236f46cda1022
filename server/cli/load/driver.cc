#include "server/cli/load/driver.h"

#include <algorithm>
#include <limits>

namespace bitdial::server {
namespace {

constexpr std::chrono::seconds kConnectTimeout(10);
constexpr double kProgressIntervalSeconds = 0.1;
constexpr double kForever = std::numeric_limits<double>::infinity();

// For connections of their own: channels of equal arguments share one by default.
grpc::ChannelArguments MakeArguments() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // a retry would hide a refusal
  return arguments;
}

// A wrong key is a wrong value given to the server.
absl::StatusCode CodeOf(const grpc::Status& status) {
  const bool is_usage = status.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
                        status.error_code() == grpc::StatusCode::PERMISSION_DENIED;
  return is_usage ? absl::StatusCode::kInvalidArgument
                  : static_cast<absl::StatusCode>(status.error_code());
}

}  // namespace

absl::StatusOr<v1::GetModelResponse> LoadDriver::Connect() {
  v1::GetModelResponse model;
  for (int i = 0; i < options_.connections; ++i) {
    BITDIAL_ASSIGN_OR_RETURN(Connection connection,
                             server::Connect(options_.connection, MakeArguments()));
    connections_.push_back(std::move(connection));
    stubs_.push_back(v1::InferenceService::NewStub(connections_.back().channel));
    grpc::ClientContext context;
    connections_.back().Prepare(context);
    context.set_deadline(std::chrono::system_clock::now() + kConnectTimeout);
    const grpc::Status status = stubs_.back()->GetModel(&context, {}, &model);
    if (status.ok()) continue;
    const bool is_silent = status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
    // A status of the server's own has details: it is there, and loading or draining.
    const bool is_absent =
        status.error_code() == grpc::StatusCode::UNAVAILABLE && status.error_details().empty();
    if (is_silent || is_absent) {
      return Unavailable("cannot reach a server at {}: {}; is `bitdial serve` running there?",
                         address(), status.error_message());
    }
    return MakeStatus(CodeOf(status), "{}: {}", address(), status.error_message());
  }
  return model;
}

LoadResult LoadDriver::Run(const Workload& workload, int64_t vocab_size,
                           std::function<void(const LoadProgress&)> on_progress) {
  on_progress_ = std::move(on_progress);
  fraction_ = [this, &workload](int64_t sent) {
    if (workload.size() > 0)
      return static_cast<double>(sent) / static_cast<double>(workload.size());
    return first_counted_s_ ? (NowS() - *first_counted_s_) / *workload.duration_s() : 0;
  };
  start_ = std::chrono::steady_clock::now();
  SendAll(workload, vocab_size);
  Drain();
  return Collect(workload);
}

void LoadDriver::SendAll(const Workload& workload, int64_t vocab_size) {
  for (int64_t index = 0; const auto request = workload.At(index); ++index) {
    // Made before it is due: what takes time must not make it late.
    const auto stream = std::make_shared<LoadStream>(
        *request, workload.PromptIds(*request, vocab_size), start_,
        [this](const LoadStream* ended, Outcome outcome) { Finished(ended, std::move(outcome)); });
    if (!WaitForTurn(workload, *request)) return;
    if (workload.is_closed()) stream->SetDue(NowS());
    if (index == workload.warmup()) first_counted_s_ = stream->request().arrival_s;
    Send(stream);
  }
}

bool LoadDriver::WaitForTurn(const Workload& workload, const LoadRequest& request) {
  Lock lock(mutex_);
  if (!workload.is_closed()) {
    WaitUntil(lock, request.arrival_s, [this] { return is_stopped_; });
    return !is_stopped_;
  }
  const double end_s = first_counted_s_ && workload.duration_s()
                           ? *first_counted_s_ + *workload.duration_s()
                           : kForever;
  WaitUntil(lock, end_s, [this, &workload] {
    return is_stopped_ || static_cast<int64_t>(in_flight_.size()) < workload.concurrency();
  });
  return !is_stopped_ && NowS() < end_s;
}

void LoadDriver::Send(const std::shared_ptr<LoadStream>& stream) {
  {
    const Lock lock(mutex_);
    ++progress_.sent;
    if (in_flight_.size() >= kMaxInFlight) {
      Outcome outcome;
      outcome.request = stream->request();
      outcome.sent_s = outcome.end_s = NowS();
      outcome.ending = Ending::kFailed;
      outcome.code = "NOT_SENT";
      outcome.explanation =
          fmt::format("{} requests were in flight, the most of this client", kMaxInFlight);
      outcomes_.push_back(std::move(outcome));
      return;
    }
    in_flight_.emplace(stream.get(), stream);
    max_in_flight_ = std::max(max_in_flight_, static_cast<int64_t>(in_flight_.size()));
  }
  const size_t connection = static_cast<size_t>(stream->request().index) % stubs_.size();
  stream->Start(connections_[connection], *stubs_[connection], options_.deadline_ms);
}

void LoadDriver::Drain() {
  Lock lock(mutex_);
  WaitUntil(lock, NowS() + options_.drain_timeout_s,
            [this] { return is_stopped_ || in_flight_.empty(); });
  const auto streams = in_flight_;
  lock.unlock();  // gRPC may end a stream inside Cancel
  for (const auto& [key, stream] : streams) stream->Cancel();
  lock.lock();
  changed_.wait(lock, [this] { return in_flight_.empty(); });
}

LoadResult LoadDriver::Collect(const Workload& workload) {
  const Lock lock(mutex_);
  LoadResult result;
  result.outcomes = std::move(outcomes_);
  std::sort(result.outcomes.begin(), result.outcomes.end(),
            [](const auto& a, const auto& b) { return a.request.index < b.request.index; });
  result.first_counted = workload.warmup();
  result.max_in_flight = max_in_flight_;
  result.is_interrupted = is_stopped_;
  result.window_begin_s = first_counted_s_.value_or(NowS());
  result.window_end_s = result.window_begin_s;
  for (const Outcome& outcome : result.outcomes) {
    result.window_end_s = std::max(result.window_end_s, outcome.end_s);
  }
  if (workload.duration_s()) {
    const double planned_s = result.window_begin_s + *workload.duration_s();
    result.window_end_s = is_stopped_ ? std::min(planned_s, NowS()) : planned_s;
  }
  return result;
}

void LoadDriver::WaitUntil(Lock& lock, double until_s, const std::function<bool()>& is_done) {
  while (!is_done()) {
    const double now_s = NowS();
    if (now_s >= until_s) return;
    if (now_s >= next_progress_s_) {
      next_progress_s_ = now_s + kProgressIntervalSeconds;
      const LoadProgress progress = ProgressNow();
      lock.unlock();
      on_progress_(progress);
      lock.lock();
      continue;
    }
    const std::chrono::duration<double> wake(std::min(until_s, next_progress_s_));
    changed_.wait_until(
        lock, start_ + std::chrono::duration_cast<std::chrono::steady_clock::duration>(wake));
  }
}

LoadProgress LoadDriver::ProgressNow() const {
  LoadProgress progress = progress_;
  progress.in_flight = static_cast<int64_t>(in_flight_.size());
  progress.fraction = std::clamp(fraction_(progress.sent), 0.0, 1.0);
  return progress;
}

void LoadDriver::Finished(const LoadStream* stream, Outcome outcome) {
  std::shared_ptr<LoadStream> last;  // goes after the lock: this driver may then be gone
  const Lock lock(mutex_);
  last = std::move(in_flight_.extract(stream).mapped());
  ++progress_.endings[outcome.ending];
  outcomes_.push_back(std::move(outcome));
  changed_.notify_all();
}

void LoadDriver::Stop() {
  const Lock lock(mutex_);
  is_stopped_ = true;
  changed_.notify_all();
}

double LoadDriver::NowS() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

}  // namespace bitdial::server
