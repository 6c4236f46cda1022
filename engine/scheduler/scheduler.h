// Which tokens of which sequences the next step computes.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "engine/scheduler/step_plan.h"
#include "kvcache/kv_manager.h"

namespace bitdial::engine {

// Hands out a budget of tokens, one step at a time: running sequences first, in order of admission,
// then waiting ones first come first served. A sequence is admitted when its worst case fits the KV
// cache, so none is ever preempted. A prompt longer than what is left of the budget is cut and goes
// on in the next step.
//
// Owner       StepLoop.   Thread  engine thread only.
// Invariant   a plan's tokens never exceed max_step_tokens; every running sequence is in every
// plan: one is admitted
//             only with budget left after all before it, so only the newest can have more than one
//             token to compute.
// Does not    touch tensors, devices or clocks, and does not own sequences.
class Scheduler {
 public:
  struct Limits {
    int32_t max_step_tokens = 512;
    int32_t max_running = 64;
  };
  Scheduler(const Limits& limits, kvcache::KvManager& kv);

  void Enqueue(Sequence* sequence) { waiting_.push_back(sequence); }

  // Fills `plan` (its memory is reused); empty when there is nothing to do. Blocks for the planned
  // tokens are in the sequences' tables afterwards.
  void Schedule(StepPlan& plan);

  // Notes that the plan was computed.
  void Commit(const StepPlan& plan);

  // Takes a sequence out, in any state, and gives its blocks back.
  void Remove(Sequence* sequence);

  const std::deque<Sequence*>& waiting() const { return waiting_; }
  const std::vector<Sequence*>& running() const { return running_; }

 private:
  void PlanChunk(Sequence* sequence, StepPlan& plan);

  Limits limits_;
  kvcache::KvManager& kv_;
  std::deque<Sequence*> waiting_;
  std::vector<Sequence*> running_;
};

}  // namespace bitdial::engine
