// The engine: one thread that steps a batch of sequences through the model.
//
//   drain inbox -> Schedule(now) -> StepPlan -> Build -> Forward -> Sample -> Commit -> publish
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/request.h"
#include "engine/scheduler/kv_admission.h"
#include "kernels/core/call_times.h"
#include "kernels/kernel_table.h"
#include "quant/container/checkpoint.h"

namespace bitdial::engine {

class KernelChoices;  // engine/layers/kernel_choices.h

// What a loaded model is, for validators, reports and GetModel.
struct ModelInfo {
  std::string architecture;  // "LlamaForCausalLM"
  int64_t vocab_size = 0;    // width of the logits; a tokenizer may have fewer
  int64_t max_context = 0;   // prompt + output tokens of one sequence
  int64_t num_layers = 0;
  int64_t hidden_size = 0;
  int64_t num_parameters = 0;
  std::vector<int> bits;  // weight_bits a request may ask for, ascending; {0} for a dense model
  int default_bits = 0;   // the largest
  std::vector<int32_t> eos_ids;
  int64_t weight_bytes = 0;     // resident, in kernel layout (mapped file bytes included)
  int64_t kv_bytes_per_token = 0;
  int64_t kv_cache_bytes = 0;   // allocated for all sequences
  std::string backend;          // "cpu_avx512"
  std::string numerics;         // "exact", "int16" or "int8": what its decode kernels over bit-planes round
  std::vector<std::string> kernels;  // names of the rows that may run, sorted
};

struct EngineOptions {
  int num_threads = 0;              // 0: every available core
  kernels::KvFormat kv_format = kernels::KvFormat::kF16;
  int64_t max_context = 0;          // 0: the model's own, at most 8192
  int64_t kv_cache_bytes = 0;       // 0: room for 4 sequences of max_context, at most a quarter of the memory
  int32_t max_running_requests = 64;
  int32_t max_queued_requests = 256;    // beyond those for whom a place is free
  int64_t max_queued_tokens = 1 << 20;  // prompt tokens waiting
  int32_t max_step_tokens = 512;    // token budget of one step
  int32_t prompt_chunk = 32;        // prompts are cut at multiples of it
  KvAdmission kv_admission = KvAdmission::kReserve;
  bool prefix_cache = true;         // false: no prompt takes K/V from an earlier one
  Clock::duration priority_step = std::chrono::seconds(10);  // head start of a level of Request::priority
  std::vector<int32_t> extra_eos_ids;  // end a sequence beside the config's: the tokenizer's, where they differ
  int32_t sampled_vocab_size = 0;   // ids >= this are never sampled (the tokenizer's size); 0: all
  bool prompts_as_decode = false;   // prompt rows run on decode kernels: slow, to measure the quality of their class
  std::function<void()> before_step;  // called on the engine thread before each step: tests freeze it there
  CallTimes* call_times = nullptr;  // every kernel call is timed into it; outlives the engine
  KernelChoices* kernel_choices = nullptr;  // measured or read by Create alone; null: the rows' order decides
};

// A consistent picture as of the last plan or step; counters never fall.
struct EngineStats {
  int32_t num_running = 0;           // every choice counts; with those whom the next step takes in
  int32_t num_queued = 0;            // requests that wait for room; choices after the first are not counted
  int64_t num_queued_tokens = 0;     // prompt tokens of num_queued
  int64_t num_steps = 0;
  int64_t num_tokens_computed = 0;   // rows of all steps: prompt and output, recomputed ones too
  int64_t num_prompt_tokens = 0;     // of requests whose prompt was computed or taken from the cache
  std::array<int64_t, 9> num_output_tokens_by_bits = {};  // [bits] tokens sampled; [0]: dense
  int64_t num_preemptions = 0;
  int64_t num_prefix_tokens_asked = 0;  // prompt tokens that were looked up in the prefix cache
  int64_t num_prefix_tokens_hit = 0;
  int64_t kv_blocks_used = 0;        // by sequences
  int64_t kv_blocks_cached = 0;      // by no sequence, kept for prompts to come; taken when room is needed
  int64_t kv_blocks_total = 0;
  double step_seconds = 0;           // spent in steps
  double host_gap_seconds = 0;       // of that, outside the model: plan, batch, sample, publish
  int auto_bits = 0;                 // what `auto` requests without a higher floor get now
  double seconds_without_progress = 0;  // since the last step ended while there is work; 0 when idle
};

// Thread   Submit, Cancel, Stats, Drain: any. Sequences, blocks and KV bytes are touched by the engine thread alone.
class Engine {
 public:
  // Loads weights into kernel layout, checks that every op has a kernel row, allocates the KV cache, runs a warm-up
  // step and starts the engine thread. The checkpoint must outlive the engine (dense weights are mapped views).
  // Errors  INVALID_ARGUMENT options (the message begins with the option's name), or a forced kernel row that
  //         nothing of the model uses;
  //         UNIMPLEMENTED architecture or shape without a kernel (names the tensor);
  //         DATA_LOSS weights malformed, not finite or not of this model, NOT_FOUND missing (name the tensor);
  //         RESOURCE_EXHAUSTED memory.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const quant::Checkpoint& checkpoint,
                                                        const kernels::KernelTable& table,
                                                        const EngineOptions& options);
  // What Create says of config.json and of the names, shapes and types of a dense model's tensors, reading none but
  // the norms' (an incomplete copy shows in them): whether it makes sense to work on this model.
  // Errors  UNIMPLEMENTED, DATA_LOSS, NOT_FOUND as Create.
  static absl::Status Check(const quant::Checkpoint& checkpoint);
  // Cancels what is left and joins the thread.
  virtual ~Engine() = default;

  virtual const ModelInfo& model() const = 0;

  // Books the request; events go to `sink` until OnFinish. Never blocks.
  // Errors (nothing was booked, the sink is not called)
  //   INVALID_ARGUMENT    an id outside the logits width, bits the model lacks, prompt + max_tokens over max_context
  //                       or over the whole KV cache (says the number that would do)
  //   RESOURCE_EXHAUSTED  the queue is full (says its bounds);  UNAVAILABLE  draining
  virtual absl::StatusOr<RequestId> Submit(Request request, std::shared_ptr<EventSink> sink) = 0;

  // Ends the request, or one of its choices, within one step, in any state; OnFinish(kCancelled) follows. Unknown or
  // ended ones are ignored.
  virtual void Cancel(RequestId id, std::optional<int32_t> choice = std::nullopt) = 0;

  virtual EngineStats stats() const = 0;

  // Refuses new requests from now on, waits until all have ended or `deadline` has passed, then cancels the rest
  // (their sinks get kCancelled with UNAVAILABLE). Returns the number that was cancelled. May be called twice.
  virtual int64_t Drain(Clock::time_point deadline) = 0;
};

// 64-bit hash of a row of logits, the same on every machine: what tests compare step by step.
uint64_t HashLogits(const float* logits, int64_t vocab_size);

}  // namespace bitdial::engine
