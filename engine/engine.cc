#include "engine/engine.h"

#include <algorithm>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <thread>

#include "engine/step_loop.h"
#include "engine/validate_request.h"
#include "kernels/core/machine_limits.h"

namespace bitdial::engine {
namespace {

constexpr std::chrono::milliseconds kPausedPoll(2);

// Members are in the order of their lifetimes; the thread comes last and goes first.
class EngineThread final : public Engine {
 public:
  EngineThread(const EngineOptions& options, std::unique_ptr<ThreadPool> pool,
               std::unique_ptr<DecoderModel> model, std::unique_ptr<StepLoop> loop)
      : options_(options),
        pool_(std::move(pool)),
        model_(std::move(model)),
        loop_(std::move(loop)) {
    stats_ = loop_->stats();
    room_ = loop_->room();
    kv_tokens_ = stats_.kv_blocks_total * model_->kv_shape().block_tokens;
    info_ = model_->info();
    info_.kv_cache_bytes = stats_.kv_blocks_total * model_->kv_shape().BytesPerBlock();
    thread_ = std::thread([this] { Run(); });
  }
  ~EngineThread() override;

  const ModelInfo& model() const override { return info_; }
  absl::StatusOr<RequestId> Submit(Request request, std::shared_ptr<EventSink> sink) override;
  void Cancel(RequestId id, std::optional<int32_t> choice) override;
  EngineStats stats() const override;
  int64_t Drain(Clock::time_point deadline) override;

 private:
  struct Arrival {
    std::unique_ptr<Sequence> sequence;
    bool has_place;  // the next step will take it in
  };
  struct Cancelled {
    RequestId id;
    std::optional<int32_t> choice;  // absent: all
  };

  void Run();
  bool Receive();
  void PublishStats();
  absl::Status CheckKvRoom(const Request& request) const;
  // These need mutex_.
  bool FindsPlace(const Sequence& sequence) const;
  void TakePlace(const Sequence& sequence);
  absl::Status CheckQueue(int64_t num_prompt_tokens) const;

  const EngineOptions options_;
  ModelInfo info_;         // the model's, with the size of this cache; const after construction
  int64_t kv_tokens_ = 0;  // that the whole cache holds; const after construction
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<DecoderModel> model_;
  std::unique_ptr<StepLoop> loop_;  // engine thread only, after construction

  mutable std::mutex mutex_;       // guards everything below
  std::condition_variable wake_;   // there may be something to do
  std::condition_variable ended_;  // num_active_ fell
  std::vector<Arrival> inbox_;
  std::vector<Cancelled> cancelled_;
  RequestId next_id_ = 1;
  bool is_draining_ = false;
  bool cancel_all_ = false;
  bool is_stopping_ = false;
  int64_t num_active_ = 0;         // submitted and not ended
  int32_t num_waiting_ = 0;         // of inbox_, those who found no place
  int64_t num_waiting_tokens_ = 0;  // of their prompts
  int64_t num_drain_cancelled_ = 0;
  EngineStats stats_;  // as of the last plan or step, without the inbox
  Scheduler::Room room_;  // likewise, less what those of the inbox take who found a place
  Clock::time_point progressed_at_ = Clock::now();  // a step ended, or work came to an idle engine

  std::thread thread_;
};

void EngineThread::Run() {
  while (Receive()) {
    if (options_.before_step) options_.before_step();
    if (!loop_->Plan()) {
      // All that run are paused: their sinks are asked again soon.
      if (loop_->has_work()) std::this_thread::sleep_for(kPausedPoll);
      continue;
    }
    PublishStats();  // who still waits is known now, and a step may take long
    loop_->Compute();
  }
}

void EngineThread::PublishStats() {
  const EngineStats stats = loop_->stats();
  const Scheduler::Room room = loop_->room();
  std::lock_guard lock(mutex_);
  stats_ = stats;
  room_ = room;
  for (const Arrival& arrival : inbox_) {
    if (arrival.has_place) TakePlace(*arrival.sequence);
  }
}

// Publishes what the last step changed, waits while there is nothing to do, and takes in what has
// arrived. Returns false when the engine is being destroyed.
bool EngineThread::Receive() {
  std::vector<Arrival> arrived;
  std::vector<Cancelled> cancelled;
  bool cancel_all = false, is_stopping = false;
  PublishStats();
  {
    std::unique_lock lock(mutex_);
    num_active_ = static_cast<int64_t>(inbox_.size()) + loop_->num_requests();
    progressed_at_ = Clock::now();
    if (num_active_ == 0) ended_.notify_all();
    wake_.wait(lock, [this] {
      return loop_->has_work() || !inbox_.empty() || cancel_all_ || is_stopping_;
    });
    arrived.swap(inbox_);
    cancelled.swap(cancelled_);
    stats_.num_running += static_cast<int32_t>(std::ssize(arrived)) - num_waiting_;
    stats_.num_queued += std::exchange(num_waiting_, 0);
    stats_.num_queued_tokens += std::exchange(num_waiting_tokens_, 0);
    cancel_all = std::exchange(cancel_all_, false);
    is_stopping = is_stopping_;
  }
  for (Arrival& arrival : arrived) loop_->Add(std::move(arrival.sequence));
  for (const auto& [id, choice] : cancelled) {
    loop_->Cancel(id, choice, absl::CancelledError("cancelled by the caller"));
  }
  if (cancel_all) {
    const int64_t count = loop_->CancelAll(Unavailable("the server is shutting down"));
    std::lock_guard lock(mutex_);
    num_drain_cancelled_ += count;
  }
  if (is_stopping) loop_->CancelAll(Unavailable("the engine is shutting down"));
  return !is_stopping;
}

EngineThread::~EngineThread() {
  {
    std::lock_guard lock(mutex_);
    is_draining_ = is_stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

absl::Status EngineThread::CheckKvRoom(const Request& request) const {
  const int64_t block_tokens = model_->kv_shape().block_tokens;
  const int64_t needed = Sequence::MaxKvTokens(request);
  if (needed <= kv_tokens_) return absl::OkStatus();
  const int64_t prompt = static_cast<int64_t>(request.prompt_ids.size());
  const int64_t room = kv_tokens_ - prompt + 1;
  return InvalidArgument(
      "the request may need K/V of {} tokens, the whole KV cache holds {}; {}, or a KV cache of {} "
      "bytes",
      needed, kv_tokens_,
      room > 0 ? fmt::format("max_tokens up to {} would do", room)
               : fmt::format("a prompt of up to {} tokens would do", kv_tokens_),
      (needed + block_tokens - 1) / block_tokens * model_->kv_shape().BytesPerBlock());
}

// Whether the next step takes it in: then it does not wait, however many arrive between two steps.
bool EngineThread::FindsPlace(const Sequence& sequence) const {
  return num_waiting_ == 0 && stats_.num_queued == 0 && room_.places > 0 && room_.step_tokens > 0 &&
         loop_->KvBlocksToStart(sequence) <= room_.kv_blocks;
}

void EngineThread::TakePlace(const Sequence& sequence) {
  --room_.places;
  room_.step_tokens -= sequence.num_prompt_tokens();
  room_.kv_blocks -= loop_->KvBlocksToStart(sequence);
}

absl::Status EngineThread::CheckQueue(int64_t num_prompt_tokens) const {
  const int64_t num_queued = num_waiting_ + stats_.num_queued;
  if (num_queued >= options_.max_queued_requests) {
    return ResourceExhausted(
        "the queue is full: {} requests wait, the limit is {}; try again later", num_queued,
        options_.max_queued_requests);
  }
  const int64_t num_tokens = num_waiting_tokens_ + stats_.num_queued_tokens;
  // A prompt longer than the bound may wait alone: refused, it would be refused for ever.
  if (num_tokens > 0 && num_tokens + num_prompt_tokens > options_.max_queued_tokens) {
    return ResourceExhausted(
        "the queue is full: {} prompt tokens wait, {} more are over the limit of {}; try again "
        "later",
        num_tokens, num_prompt_tokens, options_.max_queued_tokens);
  }
  return absl::OkStatus();
}

absl::StatusOr<RequestId> EngineThread::Submit(Request request, std::shared_ptr<EventSink> sink) {
  BITDIAL_RETURN_IF_ERROR(ValidateRequest(request, model()));
  BITDIAL_RETURN_IF_ERROR(CheckKvRoom(request));
  // Made outside the lock: it copies the prompt.
  auto sequence =
      std::make_unique<Sequence>(RequestId{0}, std::move(request), std::move(sink), Clock::now());
  std::lock_guard lock(mutex_);
  if (is_draining_) return Unavailable("the engine is shutting down and takes no new requests");
  const bool has_place = FindsPlace(*sequence);
  if (has_place) {
    TakePlace(*sequence);
  } else {
    BITDIAL_RETURN_IF_ERROR(CheckQueue(sequence->num_prompt_tokens()));
    ++num_waiting_;
    num_waiting_tokens_ += sequence->num_prompt_tokens();
  }
  const RequestId id = next_id_++;
  sequence->id = id;
  if (num_active_++ == 0) progressed_at_ = Clock::now();
  inbox_.push_back({std::move(sequence), has_place});
  wake_.notify_one();
  return id;
}

void EngineThread::Cancel(RequestId id, std::optional<int32_t> choice) {
  std::lock_guard lock(mutex_);
  if (num_active_ == 0) return;  // so that ids of ended requests do not pile up while idle
  cancelled_.push_back({id, choice});
}

EngineStats EngineThread::stats() const {
  std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.num_running += static_cast<int32_t>(std::ssize(inbox_)) - num_waiting_;
  stats.num_queued += num_waiting_;
  stats.num_queued_tokens += num_waiting_tokens_;
  if (num_active_ > 0) {
    stats.seconds_without_progress =
        std::chrono::duration<double>(Clock::now() - progressed_at_).count();
  }
  return stats;
}

int64_t EngineThread::Drain(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  is_draining_ = true;
  const auto all_ended = [this] { return num_active_ == 0; };
  if (ended_.wait_until(lock, deadline, all_ended)) return 0;
  const int64_t cancelled_before = num_drain_cancelled_;
  cancel_all_ = true;
  wake_.notify_one();
  ended_.wait(lock, all_ended);
  return num_drain_cancelled_ - cancelled_before;
}

// Room for 4 sequences of full context, at most a quarter of the memory this process may use; or
// what was asked for.
absl::StatusOr<int32_t> NumKvBlocks(const EngineOptions& options, const DecoderModel& model) {
  const kvcache::KvShape& shape = model.kv_shape();
  const int64_t blocks_per_seq =
      (model.info().max_context + shape.block_tokens - 1) / shape.block_tokens;
  int64_t num_blocks = options.kv_cache_bytes / shape.BytesPerBlock();
  if (options.kv_cache_bytes == 0) {
    num_blocks = std::min(4 * blocks_per_seq, AvailableMemoryBytes() / 4 / shape.BytesPerBlock());
  }
  if (num_blocks < 1) {
    return InvalidArgument("kv_cache_bytes {} holds no block: {} tokens take {} bytes",
                           options.kv_cache_bytes, shape.block_tokens, shape.BytesPerBlock());
  }
  // More than every running sequence's whole context is never used, but by cached prompts.
  if (!options.prefix_cache || options.kv_cache_bytes == 0) {
    num_blocks = std::min(num_blocks, blocks_per_seq * options.max_running_requests);
  }
  return static_cast<int32_t>(std::min<int64_t>(num_blocks, std::numeric_limits<int32_t>::max()));
}

absl::Status CheckOptions(const EngineOptions& options) {
  const auto check = [](const char* name, int64_t value, int64_t min, int64_t max) {
    if (value >= min && value <= max) return absl::OkStatus();
    return InvalidArgument("{} is {}, expected {} to {}", name, value, min, max);
  };
  constexpr int64_t kMany = int64_t{1} << 40;
  BITDIAL_RETURN_IF_ERROR(check("num_threads", options.num_threads, 0, 1024));
  BITDIAL_RETURN_IF_ERROR(check("max_context", options.max_context, 0, 1 << 26));
  BITDIAL_RETURN_IF_ERROR(check("kv_cache_bytes", options.kv_cache_bytes, 0, kMany * 1024));
  BITDIAL_RETURN_IF_ERROR(check("max_running_requests", options.max_running_requests, 1, 1 << 16));
  BITDIAL_RETURN_IF_ERROR(check("max_queued_requests", options.max_queued_requests, 1, 1 << 20));
  BITDIAL_RETURN_IF_ERROR(check("max_queued_tokens", options.max_queued_tokens, 1, kMany));
  BITDIAL_RETURN_IF_ERROR(check("max_step_tokens", options.max_step_tokens, 1, 1 << 20));
  BITDIAL_RETURN_IF_ERROR(check("prompt_chunk", options.prompt_chunk, 1, 1 << 20));
  if (options.prompt_chunk > options.max_step_tokens) {
    return InvalidArgument("prompt_chunk is {}, expected at most max_step_tokens = {}",
                           options.prompt_chunk, options.max_step_tokens);
  }
  return check("sampled_vocab_size", options.sampled_vocab_size, 0, 1 << 26);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const quant::Checkpoint& checkpoint,
                                                       const kernels::KernelTable& table,
                                                       const EngineOptions& options) {
  BITDIAL_RETURN_IF_ERROR(CheckOptions(options));
  BITDIAL_ASSIGN_OR_RETURN(auto pool, ThreadPool::Create(options.num_threads));
  WeightLoader loader(checkpoint, table, *pool, options.kernel_choices,
                      options.call_times != nullptr);
  BITDIAL_ASSIGN_OR_RETURN(std::unique_ptr<DecoderModel> model,
                           LoadModel(loader, {.kv_format = options.kv_format,
                                              .max_context = options.max_context,
                                              .extra_eos_ids = options.extra_eos_ids}));
  BITDIAL_RETURN_IF_ERROR(table.CheckForcedRowsUsed(loader.totals().kernel_names));

  StepLoopOptions loop_options;
  // Every sequence that decodes advances in every step, and beside them one prompt by a chunk.
  loop_options.limits = {
      .max_step_tokens = options.max_step_tokens,
      .max_running = std::min(options.max_running_requests,
                              options.max_step_tokens - options.prompt_chunk + 1),
      .prompt_chunk = options.prompt_chunk,
      .kv_admission = options.kv_admission,
      .max_waiting = options.max_queued_requests,
      .max_waiting_tokens = options.max_queued_tokens};
  loop_options.prefix_cache = options.prefix_cache;
  loop_options.priority_step = options.priority_step;
  loop_options.sampled_vocab_size = options.sampled_vocab_size;
  loop_options.prompts_as_decode = options.prompts_as_decode;
  loop_options.call_times = options.call_times;
  BITDIAL_ASSIGN_OR_RETURN(loop_options.num_kv_blocks, NumKvBlocks(options, *model));
  BITDIAL_ASSIGN_OR_RETURN(std::unique_ptr<StepLoop> loop,
                           StepLoop::Create(*model, *pool, loop_options));
  loop->WarmUp();
  return std::make_unique<EngineThread>(options, std::move(pool), std::move(model),
                                        std::move(loop));
}

absl::Status Engine::Check(const quant::Checkpoint& checkpoint) { return CheckModel(checkpoint); }

}  // namespace bitdial::engine
