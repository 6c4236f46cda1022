// Which tokens of which sequences the next step computes.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "engine/scheduler/bits_controller.h"
#include "engine/scheduler/kv_admission.h"
#include "engine/scheduler/step_plan.h"
#include "kvcache/kv_manager.h"

namespace bitdial::engine {

// Hands out a budget of tokens, one step at a time. There is one order, by virtual arrival
// (Sequence::Before): the time of arrival less a head start for priority, so that higher priority
// goes first and nobody waits for ever. A step is made up of
//
// - a token of each running sequence that has but one to compute: a prompt never holds them up;
//
// - then chunks of the running sequences with more to compute (prompts, and what preemption took),
//   in order, cut at absolute multiples of prompt_chunk;
//
// - then waiting ones, in order; the first that finds no room keeps the others back.
//
// A paused sequence keeps its place and its blocks and gets nothing.
//
// With KvAdmission::kReserve a sequence is admitted when its worst case fits the KV cache, so none
// is ever preempted. With kOptimistic it is admitted when what it has now fits; when the cache is
// full, the last in the order gives its blocks back, waits again and recomputes them (a token's
// role follows from its index, so its answer is the same).
//
// Owner       StepLoop.   Thread  engine thread only.
// Invariant   a plan's tokens never exceed max_step_tokens. But for paused ones, a running sequence
//             with one token to compute is in every plan, and the first always advances and is
//             never preempted.
// Does not    touch tensors, devices or clocks, and does not own sequences.
class Scheduler {
 public:
  struct Limits {
    int32_t max_step_tokens = 512;
    int32_t max_running = 64;
    // A prompt is cut at multiples of it; max_running - 1 + prompt_chunk <= max_step_tokens.
    int32_t prompt_chunk = 1;
    KvAdmission kv_admission = KvAdmission::kReserve;
    int32_t max_waiting = 256;                 // these two are known to the controller only
    int64_t max_waiting_tokens = 1 << 20;
  };
  // bits: of the model, ascending.
  Scheduler(const Limits& limits, kvcache::KvManager& kv, std::vector<int> bits);

  void Enqueue(Sequence* sequence) { waiting_.insert(sequence); }

  // Fills `plan` (its memory is reused); empty when there is nothing to do. Blocks for the planned
  // tokens are in the sequences' tables afterwards, and the bits of its rows are settled.
  void Schedule(Clock::time_point now, StepPlan& plan);

  // Notes that the plan was computed, in step_time, and lists the prompts' whole blocks for prompts
  // to come.
  void Commit(const StepPlan& plan, Clock::duration step_time);

  // Takes a sequence out, in any state, and gives its blocks back.
  void Remove(Sequence* sequence);

  using Order = bool (*)(const Sequence*, const Sequence*);
  const std::set<Sequence*, Order>& waiting() const { return waiting_; }
  const std::vector<Sequence*>& running() const { return running_; }  // in order
  int dial() const { return bits_controller_.dial(); }
  // What the next plan can take in: nothing while somebody waits. A new sequence is sure to run when a
  // place is left, a token of the step, and its KvBlocksToStart.
  struct Room {
    int32_t places = 0;
    int64_t kv_blocks = 0;
    int64_t step_tokens = 0;
  };
  Room room() const;
  int64_t KvBlocksToStart(const Sequence& sequence) const;  // thread: any

  struct Counters {
    int64_t num_preemptions = 0;
    int64_t num_prefix_tokens_asked = 0, num_prefix_tokens_hit = 0;
  };
  const Counters& counters() const { return counters_; }

 private:
  void UpdateBits(Clock::time_point now);
  void Admit(StepPlan& plan);
  bool TakeRoom(Sequence& sequence);
  int32_t ChunkTokens(const Sequence& sequence, int32_t budget) const;
  bool GrowOrPreempt(Sequence& sequence, int32_t num_tokens);
  void Preempt(Sequence* victim);
  void SettleBits(Sequence& sequence, int32_t end);
  void AddChunk(Sequence* sequence, int32_t num_tokens, StepPlan& plan);
  int32_t LongestPrefix(const Sequence& sequence) const;

  Limits limits_;
  kvcache::KvManager& kv_;
  BitsController bits_controller_;
  std::set<Sequence*, Order> waiting_;
  std::vector<Sequence*> running_;  // in order
  double last_step_s_ = 0;
  Counters counters_;
};

}  // namespace bitdial::engine
