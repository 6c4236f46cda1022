#include "engine/step_loop.h"

#include <algorithm>
#include <utility>

#include "kernels/core/check.h"

namespace bitdial::engine {
namespace {

// Logits exist for this many rows at a time: 12.6 MB at a vocabulary of 49152. More rows would save
// nothing (the head's weights are read once per 64 rows), fewer would read them more often.
constexpr int64_t kLogitsRows = 64;

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

bool StepLoop::Step() {
  if (!Plan()) return false;
  Compute();
  return true;
}

bool StepLoop::Plan() {
  const Clock::time_point now = options_.now();
  EndExpired(now);
  AskSinks();
  scheduler_.Schedule(now, plan_);
  BeginStep(now);
  return !plan_.chunks.empty();
}

void StepLoop::Compute() {
  batch_.Build(plan_);
  Workspace::Scope scope(workspace_);
  StepContext step{stream_, workspace_, traffic_, is_warm_up_};
  const Clock::time_point began = options_.now();
  const Matrix<float> hidden = model_.Forward(batch_, kv_store_, step);
  kernel_time_ += options_.now() - began;
  ScorePrompts(hidden, step);
  SampleTokens(hidden, step);
  scheduler_.Commit(plan_, options_.now() - step_began_);
  Publish();
  const Clock::duration whole = options_.now() - step_began_;
  totals_.step_seconds += Seconds(whole);
  totals_.host_gap_seconds += Seconds(whole - kernel_time_);
}

absl::StatusOr<std::unique_ptr<StepLoop>> StepLoop::Create(const DecoderModel& model,
                                                           ThreadPool& pool,
                                                           const StepLoopOptions& options) {
  BITDIAL_ASSIGN_OR_RETURN(kvcache::KvStore kv_store,
                           kvcache::KvStore::Create(model.kv_shape(), options.num_kv_blocks));
  BITDIAL_ASSIGN_OR_RETURN(
      Workspace workspace,
      Workspace::Create(Device::kCpu,
                        model.WorkspaceFloats(options.limits.max_step_tokens, kLogitsRows)));
  return std::unique_ptr<StepLoop>(
      new StepLoop(model, pool, options, std::move(kv_store), std::move(workspace)));
}

StepLoop::StepLoop(const DecoderModel& model, ThreadPool& pool, const StepLoopOptions& options,
                   kvcache::KvStore kv_store, Workspace workspace)
    : model_(model),
      options_(options),
      stream_(pool, options.call_times),
      kv_manager_(options.num_kv_blocks, kv_store.shape().block_tokens),
      kv_store_(std::move(kv_store)),
      workspace_(std::move(workspace)),
      scheduler_(options.limits, kv_manager_, model.info().bits),
      batch_(options.limits.max_step_tokens, options.limits.max_running,
             static_cast<int32_t>(kv_manager_.BlocksFor(model.info().max_context)),
             options.prompts_as_decode),
      sampler_(model.info().vocab_size, options.sampled_vocab_size, model.info().eos_ids),
      sampler_scratch_(static_cast<size_t>(pool.num_threads()), sampler_.MakeScratch()),
      scored_(static_cast<size_t>(kLogitsRows)),
      row_bits_(static_cast<size_t>(kLogitsRows)) {
  for (Sampler::Scratch& scratch : sampler_scratch_) scratch = sampler_.MakeScratch();
}

void StepLoop::Add(std::unique_ptr<Sequence> sequence) {
  Request& request = sequence->request;
  request.uses_prefix_cache &= options_.prefix_cache;
  sequence->virtual_arrival = sequence->submitted_at - request.priority * options_.priority_step;
  scheduler_.Enqueue(sequence.get());
  ActiveRequest& active = requests_[sequence->id];
  active.has_all_choices = request.num_choices == 1;
  active.sequences.push_back(std::move(sequence));
}

// They stand where the first one stood in the order, and find the prompt's whole blocks in the
// prefix cache: what is left of the prompt each computes itself, so no block is ever copied.
void StepLoop::AddOtherChoices(const Sequence& first) {
  ActiveRequest& active = requests_.at(first.id);
  if (std::exchange(active.has_all_choices, true)) return;
  for (int32_t choice = 1; choice < first.request.num_choices; ++choice) {
    auto sequence =
        std::make_unique<Sequence>(first.id, first.request, first.sink, first.submitted_at);
    sequence->choice = choice;
    sequence->virtual_arrival = first.virtual_arrival;
    sequence->request.prompt_logprobs_from.reset();
    scheduler_.Enqueue(sequence.get());
    active.sequences.push_back(std::move(sequence));
  }
}

void StepLoop::End(RequestId id, FinishReason reason, const absl::Status& status) {
  for (auto found = requests_.find(id); found != requests_.end(); found = requests_.find(id)) {
    Finish(*found->second.sequences.back(), reason, status);
  }
}

void StepLoop::Cancel(RequestId id, std::optional<int32_t> choice, const absl::Status& status) {
  const auto active = requests_.find(id);
  if (active == requests_.end()) return;
  if (!choice.has_value() || !active->second.has_all_choices) {
    return End(id, FinishReason::kCancelled, status);
  }
  for (const auto& sequence : active->second.sequences) {
    if (sequence->choice == *choice) return Finish(*sequence, FinishReason::kCancelled, status);
  }
}

int64_t StepLoop::CancelAll(const absl::Status& status) {
  const int64_t count = num_requests();
  while (!requests_.empty()) End(requests_.begin()->first, FinishReason::kCancelled, status);
  return count;
}

void StepLoop::EndExpired(Clock::time_point now) {
  std::vector<const Sequence*> expired;  // End changes the map; allocates only when there are some
  for (const auto& [id, active] : requests_) {
    const Sequence& sequence = *active.sequences.front();
    const auto& deadline = sequence.request.deadline;
    if (deadline.has_value() && *deadline <= now) expired.push_back(&sequence);
  }
  for (const Sequence* sequence : expired) {
    End(sequence->id, FinishReason::kDeadline,
        absl::DeadlineExceededError(fmt::format("the deadline passed after {} of at most {} tokens",
                                                sequence->num_generated_tokens(),
                                                sequence->request.max_tokens)));
  }
}

void StepLoop::AskSinks() {
  for (Sequence* sequence : scheduler_.running()) sequence->is_paused = !sequence->sink->IsReady();
}

void StepLoop::BeginStep(Clock::time_point now) {
  if (plan_.chunks.empty()) return;
  step_began_ = now;
  kernel_time_ = {};
  ++totals_.num_steps;
  totals_.num_tokens_computed += plan_.num_tokens;
  results_.clear();
  results_.resize(plan_.chunks.size());
  for (const PlannedChunk& chunk : plan_.chunks) {
    if (!chunk.sequence->scheduled_at.has_value()) chunk.sequence->scheduled_at = now;
  }
}

template <typename Visit>
void StepLoop::VisitLogits(Matrix<const float> hidden, std::span<const LogitsRow> wanted,
                           kernels::Role role, StepContext& step, const Visit& visit) {
  Workspace::Scope scope(step.workspace);
  for (size_t i = 0; i < wanted.size(); ++i) {
    row_bits_[i] = batch_.bits()[static_cast<size_t>(wanted[i].row)];
  }
  const Clock::time_point began = options_.now();
  const Matrix<float> logits = model_.Logits(hidden, wanted, row_bits_.data(), role, step);
  step.stream.Synchronize();
  kernel_time_ += options_.now() - began;
  const int64_t num_tasks = std::min<int64_t>(step.stream.pool().num_threads(), logits.rows);
  step.stream.pool().ParallelFor(num_tasks, [&](int64_t task) {
    for (int64_t i = task; i < logits.rows; i += num_tasks) visit(i, logits.Row(i), task);
  });
}

void StepLoop::ScorePrompts(Matrix<const float> hidden, StepContext& step) {
  for (std::span<const LogitsRow> rest = batch_.scored_rows(); !rest.empty();) {
    const auto wanted = rest.first(std::min<size_t>(rest.size(), kLogitsRows));
    rest = rest.subspan(wanted.size());
    const auto role = options_.prompts_as_decode ? kernels::Role::kDecode : kernels::Role::kPrompt;
    VisitLogits(hidden, wanted, role, step, [&](int64_t i, const float* logits, int64_t) {
      const LogitsRow& row = wanted[static_cast<size_t>(i)];
      const Sequence& sequence = *plan_.chunks[static_cast<size_t>(row.chunk)].sequence;
      scored_[static_cast<size_t>(i)] = sampler_.Score(logits, sequence, row.position + 1);
    });
    for (size_t i = 0; i < wanted.size(); ++i) {
      ChunkResult& result = results_[static_cast<size_t>(wanted[i].chunk)];
      if (scored_[i].ok()) {
        result.prompt_logprobs.push_back(std::move(scored_[i]).value());
      } else {
        result.status.Update(scored_[i].status());
      }
    }
  }
}

void StepLoop::SampleTokens(Matrix<const float> hidden, StepContext& step) {
  for (std::span<const LogitsRow> rest = batch_.sampled_rows(); !rest.empty();) {
    const auto wanted = rest.first(std::min<size_t>(rest.size(), kLogitsRows));
    rest = rest.subspan(wanted.size());
    // The row that a token is sampled from counts as a decode row of the head also when it is the
    // prompt's last: that too follows from the token index alone, and spares a prompt kernel's
    // set-up for single rows.
    VisitLogits(hidden, wanted, kernels::Role::kDecode, step,
                [&](int64_t i, const float* logits, int64_t task) {
                  const auto chunk = static_cast<size_t>(wanted[static_cast<size_t>(i)].chunk);
                  auto token = sampler_.Sample(logits, *plan_.chunks[chunk].sequence,
                                               sampler_scratch_[static_cast<size_t>(task)]);
                  if (token.ok()) {
                    results_[chunk].token = std::move(token).value();
                  } else {
                    results_[chunk].status.Update(token.status());
                  }
                });
  }
}

void StepLoop::Publish() {
  const Clock::time_point now = options_.now();
  for (size_t i = 0; i < plan_.chunks.size(); ++i) {
    PublishChunk(*plan_.chunks[i].sequence, results_[i], now);
  }
}

void StepLoop::PublishChunk(Sequence& sequence, ChunkResult& result, Clock::time_point now) {
  const Request& request = sequence.request;
  if (!result.status.ok()) return Finish(sequence, FinishReason::kError, result.status);
  if (!result.prompt_logprobs.empty()) {
    sequence.sink->OnPromptLogprobs(std::move(result.prompt_logprobs));
  }
  const bool prompt_is_done = sequence.num_computed_tokens >= sequence.num_prompt_tokens();
  if (prompt_is_done && !sequence.first_token_at.has_value()) {
    sequence.first_token_at = now;
    if (sequence.choice == 0) totals_.num_prompt_tokens += sequence.num_prompt_tokens();
    AddOtherChoices(sequence);
  }
  if (prompt_is_done && request.max_tokens == 0) {
    return Finish(sequence, FinishReason::kLength, absl::OkStatus());
  }
  if (!result.token.has_value()) return;

  const int32_t token_id = result.token->token_id;
  ++totals_.num_output_tokens_by_bits[static_cast<size_t>(result.token->bits)];
  sequence.AppendToken(token_id);
  sequence.sink->OnToken(std::move(*result.token));
  const auto& stops = request.stop_token_ids;
  if (!request.ignore_eos && sampler_.IsEos(token_id)) {
    Finish(sequence, FinishReason::kEos, absl::OkStatus());
  } else if (std::find(stops.begin(), stops.end(), token_id) != stops.end()) {
    Finish(sequence, FinishReason::kStopToken, absl::OkStatus());
  } else if (sequence.num_generated_tokens() >= request.max_tokens) {
    Finish(sequence, FinishReason::kLength, absl::OkStatus());
  }
}

void StepLoop::Finish(Sequence& sequence, FinishReason reason, const absl::Status& status) {
  const Clock::time_point now = options_.now();
  FinishEvent event;
  event.choice = sequence.choice;
  event.reason = reason;
  event.status = status;
  event.num_prompt_tokens = sequence.num_prompt_tokens();
  event.num_generated_tokens = sequence.num_generated_tokens();
  event.num_cached_tokens = sequence.num_cached_tokens;
  event.num_preemptions = sequence.num_preemptions;
  event.prompt_bits = sequence.prompt_bits;
  event.min_bits = sequence.MinBits();
  const Clock::time_point scheduled = sequence.scheduled_at.value_or(now);
  const Clock::time_point first = sequence.first_token_at.value_or(now);
  event.queue_s = Seconds(scheduled - sequence.submitted_at);
  event.prefill_s = Seconds(first - scheduled);
  event.decode_s = Seconds(now - first);

  scheduler_.Remove(&sequence);
  const auto active = requests_.find(sequence.id);
  const bool has_all_choices = active->second.has_all_choices;
  auto& sequences = active->second.sequences;
  const auto found = std::find_if(sequences.begin(), sequences.end(),
                                  [&](const auto& other) { return other.get() == &sequence; });
  const std::unique_ptr<Sequence> last = std::move(*found);  // alive until the sink has heard
  sequences.erase(found);
  if (sequences.empty()) requests_.erase(active);
  last->sink->OnFinish(event);
  // Choices that never came to be end as the first one did.
  for (int32_t choice = 1; !has_all_choices && choice < last->request.num_choices; ++choice) {
    event.choice = choice;
    last->sink->OnFinish(event);
  }
}

void StepLoop::WarmUp() {
  struct NullSink : EventSink {
    void OnToken(TokenEvent) override {}
    void OnFinish(FinishEvent) override {}
  };
  const auto run = [&](int64_t num_sequences, int64_t num_prompt_tokens, int32_t max_tokens) {
    for (int64_t i = 0; i < num_sequences; ++i) {
      Request request;
      request.prompt_ids.assign(static_cast<size_t>(num_prompt_tokens), 0);
      request.weight_bits = model_.info().default_bits;
      request.max_tokens = max_tokens;
      request.ignore_eos = true;
      request.uses_prefix_cache = false;
      request.prompt_logprobs_from =
          num_prompt_tokens > 1 ? std::optional<int32_t>(1) : std::nullopt;
      Add(std::make_unique<Sequence>(RequestId{0} - static_cast<RequestId>(i) - 1,
                                     std::move(request), std::make_shared<NullSink>(),
                                     options_.now()));
    }
    while (has_work()) Step();
  };
  is_warm_up_ = true;
  const int64_t kv_tokens = int64_t{kv_manager_.num_blocks()} * kv_manager_.block_tokens();
  const int64_t max_context = std::min(model_.info().max_context, kv_tokens);
  // As many prompts as fill a step: one alone may be too short for that.
  const int64_t num_prompt_tokens = std::min<int64_t>(options_.limits.max_step_tokens, max_context);
  const int64_t num_prompts =
      (options_.limits.max_step_tokens + num_prompt_tokens - 1) / num_prompt_tokens;
  run(std::min<int64_t>(num_prompts, options_.limits.max_running), num_prompt_tokens, 0);
  if (max_context >= 2)
    run(std::min(options_.limits.max_running, options_.limits.max_step_tokens), 1, 2);
  is_warm_up_ = false;
  totals_ = {};
}

EngineStats StepLoop::stats() const {
  EngineStats stats = totals_;
  stats.num_running = static_cast<int32_t>(scheduler_.running().size());
  for (const Sequence* sequence : scheduler_.waiting()) {
    if (sequence->choice > 0) continue;
    ++stats.num_queued;
    stats.num_queued_tokens += sequence->num_prompt_tokens();
  }
  stats.num_preemptions = scheduler_.counters().num_preemptions;
  stats.num_prefix_tokens_asked = scheduler_.counters().num_prefix_tokens_asked;
  stats.num_prefix_tokens_hit = scheduler_.counters().num_prefix_tokens_hit;
  stats.kv_blocks_used = kv_manager_.num_used_blocks();
  stats.kv_blocks_cached = kv_manager_.num_cached_blocks();
  stats.kv_blocks_total = kv_manager_.num_blocks();
  stats.auto_bits = scheduler_.dial();
  return stats;
}

}  // namespace bitdial::engine
