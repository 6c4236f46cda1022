// The loop's body: one step of every running sequence. No thread of its own, no clock of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "engine/batch.h"
#include "engine/engine.h"
#include "engine/models/decoder_model.h"
#include "engine/sampler/sampler.h"
#include "engine/scheduler/scheduler.h"
#include "kvcache/kv_store.h"

namespace bitdial::engine {

struct StepLoopOptions {
  Scheduler::Limits limits;
  int32_t num_kv_blocks = 0;
  bool prefix_cache = true;
  Clock::duration priority_step = std::chrono::seconds(10);  // head start of a level of priority
  int64_t sampled_vocab_size = 0;                            // 0: the whole vocabulary
  bool prompts_as_decode = false;                            // as EngineOptions
  CallTimes* call_times = nullptr;                           // as EngineOptions
  Clock::time_point (*now)() = &Clock::now;
};

// Owner       Engine.   Thread  one at a time (the engine thread, or a test).
// Invariant   every choice of a request it was given gets OnFinish exactly once, and its blocks
// come back with it.
class StepLoop {
 public:
  // The model and the pool must outlive the loop.
  // Errors  RESOURCE_EXHAUSTED no memory for the KV cache or the workspace.
  static absl::StatusOr<std::unique_ptr<StepLoop>> Create(const DecoderModel& model,
                                                          ThreadPool& pool,
                                                          const StepLoopOptions& options);

  // Takes the first choice of a request that was validated (validate_request.h); it runs when the
  // scheduler admits it. The other choices follow it once their prompt is in the cache.
  void Add(std::unique_ptr<Sequence> sequence);
  // Ends a request, or one of its choices, now, in any state, as kCancelled with this status.
  // Unknown ones are ignored.
  void Cancel(RequestId id, std::optional<int32_t> choice, const absl::Status& status);
  // Ends all; returns how many requests.
  int64_t CancelAll(const absl::Status& status);

  // Plan and Compute; false when there was nothing to do.
  bool Step();
  // Ends what has expired, admits what fits and settles what the next step computes; false when
  // that is nothing.
  bool Plan();
  // Computes what was planned and tells the sinks.
  void Compute();

  // Runs the largest prompt step and the widest decode step once, so that kernels take their
  // scratch memory now.
  void WarmUp();

  bool has_work() const { return !requests_.empty(); }
  int64_t num_requests() const { return static_cast<int64_t>(requests_.size()); }
  Scheduler::Room room() const { return scheduler_.room(); }
  int64_t KvBlocksToStart(const Sequence& sequence) const {  // thread: any
    return scheduler_.KvBlocksToStart(sequence);
  }
  EngineStats stats() const;
  // Counts what steps read from now on; null: not at all. For tests and benches.
  void set_traffic(kernels::WeightTraffic* traffic) { traffic_ = traffic; }

 private:
  // What the step found out for one chunk of the plan.
  struct ChunkResult {
    absl::Status status;  // not OK: the sequence fails, alone
    std::vector<PromptLogprob> prompt_logprobs;
    std::optional<TokenEvent> token;
  };

  StepLoop(const DecoderModel& model, ThreadPool& pool, const StepLoopOptions& options,
           kvcache::KvStore kv_store, Workspace workspace);

  // The choices of a request that have not ended.
  struct ActiveRequest {
    std::vector<std::unique_ptr<Sequence>> sequences;
    bool has_all_choices = false;
  };

  void EndExpired(Clock::time_point now);
  void AskSinks();
  void BeginStep(Clock::time_point now);
  void AddOtherChoices(const Sequence& first);
  void End(RequestId id, FinishReason reason, const absl::Status& status);
  void ScorePrompts(Matrix<const float> hidden, StepContext& step);
  void SampleTokens(Matrix<const float> hidden, StepContext& step);
  void Publish();
  void PublishChunk(Sequence& sequence, ChunkResult& result, Clock::time_point now);
  void Finish(Sequence& sequence, FinishReason reason, const absl::Status& status);

  // Logits of wanted[begin .. begin + count) and, row by row on the pool's threads, visit(index,
  // logits, task).
  template <typename Visit>
  void VisitLogits(Matrix<const float> hidden, std::span<const LogitsRow> wanted,
                   kernels::Role role, StepContext& step, const Visit& visit);

  const DecoderModel& model_;
  StepLoopOptions options_;
  Stream stream_;
  kvcache::KvManager kv_manager_;
  kvcache::KvStore kv_store_;
  Workspace workspace_;
  Scheduler scheduler_;
  Batch batch_;
  Sampler sampler_;
  kernels::WeightTraffic* traffic_ = nullptr;
  bool is_warm_up_ = false;

  std::unordered_map<RequestId, ActiveRequest> requests_;
  StepPlan plan_;
  std::vector<ChunkResult> results_;               // [plan_.chunks]
  std::vector<Sampler::Scratch> sampler_scratch_;  // one a thread
  std::vector<absl::StatusOr<PromptLogprob>> scored_;
  std::vector<uint8_t> row_bits_;
  Clock::time_point step_began_{};
  Clock::duration kernel_time_{};  // of this step: in the model
  EngineStats totals_;             // its counters
};

}  // namespace bitdial::engine
