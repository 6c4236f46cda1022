#include "engine/scheduler/scheduler.h"

#include <algorithm>

#include "kernels/core/check.h"

namespace bitdial::engine {

Scheduler::Scheduler(const Limits& limits, kvcache::KvManager& kv) : limits_(limits), kv_(kv) {
  BITDIAL_CHECK(limits_.max_step_tokens > 0 && limits_.max_running > 0);
  running_.reserve(static_cast<size_t>(limits_.max_running));
}

void Scheduler::Schedule(StepPlan& plan) {
  plan.chunks.clear();
  plan.num_tokens = 0;
  for (Sequence* sequence : running_) PlanChunk(sequence, plan);
  while (!waiting_.empty() && plan.num_tokens < limits_.max_step_tokens &&
         static_cast<int32_t>(running_.size()) < limits_.max_running) {
    Sequence* next = waiting_.front();
    // The head waits until it fits and nobody overtakes it: a long request is late, never starved.
    if (!kv_.TryReserve(next->blocks, next->MaxKvTokens())) break;
    waiting_.pop_front();
    running_.push_back(next);
    PlanChunk(next, plan);
  }
}

void Scheduler::PlanChunk(Sequence* sequence, StepPlan& plan) {
  const int32_t num_tokens = std::min(sequence->num_tokens() - sequence->num_computed_tokens,
                                      limits_.max_step_tokens - plan.num_tokens);
  BITDIAL_CHECK(num_tokens > 0);  // see the class invariant
  const PlannedChunk chunk{sequence, sequence->num_computed_tokens, num_tokens};
  BITDIAL_CHECK(kv_.Grow(sequence->blocks, chunk.end()));  // within the reservation
  plan.chunks.push_back(chunk);
  plan.num_tokens += num_tokens;
}

void Scheduler::Commit(const StepPlan& plan) {
  for (const PlannedChunk& chunk : plan.chunks) chunk.sequence->num_computed_tokens = chunk.end();
}

void Scheduler::Remove(Sequence* sequence) {
  if (std::erase(running_, sequence) == 0) std::erase(waiting_, sequence);
  kv_.Free(sequence->blocks);
}

}  // namespace bitdial::engine
