#include "engine/scheduler/scheduler.h"

#include <algorithm>

#include "kernels/core/check.h"

namespace bitdial::engine {
namespace {

// Who waits is looked at this far, for what the controller asks.
constexpr int kMaxLookedAt = 64;

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

int32_t NumToCompute(const Sequence& sequence) {
  return sequence.is_paused ? 0 : sequence.num_tokens() - sequence.num_computed_tokens;
}

// The lesser of two targets, where 0 is none.
double LesserTarget(double a, double b) { return a == 0 || (b != 0 && b < a) ? b : a; }

}  // namespace

Scheduler::Scheduler(const Limits& limits, kvcache::KvManager& kv, std::vector<int> bits)
    : limits_(limits), kv_(kv), bits_controller_(std::move(bits)), waiting_(&Sequence::Before) {
  BITDIAL_CHECK(limits_.max_running > 0 && limits_.prompt_chunk > 0 &&
                limits_.max_running - 1 + limits_.prompt_chunk <= limits_.max_step_tokens);
  running_.reserve(static_cast<size_t>(limits_.max_running));
}

void Scheduler::Schedule(Clock::time_point now, StepPlan& plan) {
  plan.chunks.clear();
  plan.num_tokens = 0;
  if (running_.empty()) bits_controller_.CatchUp(now);
  const int64_t preemptions_before = counters_.num_preemptions;
  // A token for each that has but one to compute is set aside; the others share the rest.
  auto budget = limits_.max_step_tokens -
                static_cast<int32_t>(std::count_if(running_.begin(), running_.end(),
                                                   [](auto* s) { return NumToCompute(*s) == 1; }));
  for (size_t i = 0; i < running_.size(); ++i) {  // preemption takes from the end
    Sequence* const sequence = running_[i];
    const bool is_single = NumToCompute(*sequence) == 1;
    const int32_t num_tokens = is_single ? 1 : ChunkTokens(*sequence, budget);
    if (num_tokens == 0 || !GrowOrPreempt(*sequence, sequence->num_computed_tokens + num_tokens))
      continue;
    AddChunk(sequence, num_tokens, plan);
    if (!is_single) budget -= num_tokens;
  }
  if (counters_.num_preemptions == preemptions_before) Admit(plan);
  UpdateBits(now);
}

Scheduler::Room Scheduler::room() const {
  if (!waiting_.empty()) return {};
  Room room{.places = limits_.max_running - static_cast<int32_t>(running_.size()),
            .kv_blocks = kv_.num_available_blocks(),
            .step_tokens = limits_.max_step_tokens};
  for (const Sequence* sequence : running_) {
    room.step_tokens -= std::max(sequence->num_tokens() - sequence->num_computed_tokens, 1);
  }
  return room;
}

int64_t Scheduler::KvBlocksToStart(const Sequence& sequence) const {
  return limits_.kv_admission == KvAdmission::kReserve
             ? kv_.BlocksFor(sequence.MaxKvTokens())
             : kv_.BlocksFor(sequence.num_tokens()) + 1;
}

void Scheduler::Admit(StepPlan& plan) {
  while (!waiting_.empty() && plan.num_tokens < limits_.max_step_tokens &&
         static_cast<int32_t>(running_.size()) < limits_.max_running) {
    Sequence* const next = *waiting_.begin();
    if (!TakeRoom(*next)) return;
    waiting_.erase(waiting_.begin());
    running_.insert(std::upper_bound(running_.begin(), running_.end(), next, &Sequence::Before),
                    next);
    const int32_t num_tokens = ChunkTokens(*next, limits_.max_step_tokens - plan.num_tokens);
    if (num_tokens == 0) return;  // a whole chunk does not fit into what is left of this step
    BITDIAL_CHECK(
        kv_.Grow(next->blocks, next->num_computed_tokens + num_tokens));  // TakeRoom saw to it
    AddChunk(next, num_tokens, plan);
  }
}

// Gives a waiting sequence its cached beginning and books what the admission rule asks for; false
// (nothing changed) when there is no room.
bool Scheduler::TakeRoom(Sequence& sequence) {
  const Request& request = sequence.request;
  if (request.auto_bits.has_value() && sequence.num_once_computed == 0) {
    const std::vector<uint8_t>& schedule = request.auto_bits->schedule;
    sequence.prompt_bits =
        schedule.empty() ? bits_controller_.BitsFor(request.auto_bits->min_bits) : schedule.front();
  }
  if ((request.uses_prefix_cache || request.num_choices > 1) &&
      sequence.keys_bits != sequence.prompt_bits) {
    // Who does not share with others still shares with the other choices of the same request.
    const std::string scope = request.uses_prefix_cache ? "caller " + request.cache_scope
                                                        : "request " + std::to_string(sequence.id);
    sequence.prefix_keys = kv_.PrefixKeys(request.prompt_ids, sequence.prompt_bits, scope);
    sequence.keys_bits = sequence.prompt_bits;
  }
  const int32_t num_cached = LongestPrefix(sequence);
  if (!kv_.TakePrefix(sequence.blocks, sequence.prefix_keys, num_cached)) return false;
  const bool fits =
      limits_.kv_admission == KvAdmission::kReserve
          ? kv_.TryReserve(sequence.blocks, sequence.MaxKvTokens())
          // Of those that run already, one at least can grow before somebody must give way.
          : kv_.BlocksFor(sequence.num_tokens()) - num_cached + (running_.empty() ? 0 : 1) <=
                kv_.num_available_blocks();
  if (!fits) {
    kv_.Free(sequence.blocks);
    return false;
  }
  sequence.num_computed_tokens = num_cached * kv_.block_tokens();
  sequence.num_listed_blocks = num_cached;
  if (!sequence.prefix_keys.empty()) {
    counters_.num_prefix_tokens_asked += sequence.num_prompt_tokens();
    counters_.num_prefix_tokens_hit += sequence.num_computed_tokens;
  }
  if (sequence.num_preemptions == 0) sequence.num_cached_tokens = sequence.num_computed_tokens;
  return true;
}

// Blocks of the prompt that the cache has, up to a multiple of prompt_chunk, and so that the rows
// somebody wants the logits of are computed: the last one, and those that are scored.
int32_t Scheduler::LongestPrefix(const Sequence& sequence) const {
  const int32_t block = kv_.block_tokens();
  int32_t end = sequence.num_prompt_tokens() - 1;
  if (sequence.request.prompt_logprobs_from.has_value())
    end = std::min(end, *sequence.request.prompt_logprobs_from - 1);
  int32_t count = kv_.CountPrefix(sequence.prefix_keys, end / block);
  while (count * block % limits_.prompt_chunk != 0) --count;
  return count;
}

// How many tokens of the sequence the next step may compute within `budget`; 0: none, since the cut
// would not be at a multiple of prompt_chunk.
int32_t Scheduler::ChunkTokens(const Sequence& sequence, int32_t budget) const {
  const int32_t begin = sequence.num_computed_tokens;
  int32_t end = begin + std::min(NumToCompute(sequence), budget);
  const int32_t num_prompt = sequence.num_prompt_tokens();
  if (end < num_prompt)
    return std::max(end / limits_.prompt_chunk * limits_.prompt_chunk - begin, 0);
  // What preemption took is recomputed at the bits it had, and a chunk's decode rows are of one.
  const auto& bits = sequence.decode_bits;
  const auto first = static_cast<size_t>(std::max(begin - num_prompt, 0));
  const auto last = std::min(static_cast<size_t>(end - num_prompt), bits.size());
  for (size_t i = first; i < last; ++i) {
    if (bits[i] != bits[first]) return num_prompt + static_cast<int32_t>(i) - begin;
  }
  if (first < last && last < static_cast<size_t>(end - num_prompt)) {
    return num_prompt + static_cast<int32_t>(last) -
           begin;  // the bits of the rest are not settled yet
  }
  return end - begin;
}

bool Scheduler::GrowOrPreempt(Sequence& sequence, int32_t num_tokens) {
  while (!kv_.Grow(sequence.blocks, num_tokens)) {
    Sequence* const victim = running_.back();
    Preempt(victim);
    if (victim == &sequence) return false;
  }
  return true;
}

void Scheduler::Preempt(Sequence* victim) {
  running_.pop_back();
  kv_.Free(victim->blocks);
  victim->num_computed_tokens = 0;
  victim->is_paused = false;
  ++victim->num_preemptions;
  ++counters_.num_preemptions;
  waiting_.insert(victim);
}

void Scheduler::AddChunk(Sequence* sequence, int32_t num_tokens, StepPlan& plan) {
  const PlannedChunk chunk{sequence, sequence->num_computed_tokens, num_tokens};
  SettleBits(*sequence, chunk.end());
  plan.chunks.push_back(chunk);
  plan.num_tokens += num_tokens;
}

void Scheduler::SettleBits(Sequence& sequence, int32_t end) {
  if (!sequence.request.auto_bits.has_value()) return;
  const AutoBits& wish = *sequence.request.auto_bits;
  while (static_cast<int32_t>(sequence.decode_bits.size()) < end - sequence.num_prompt_tokens()) {
    // The row of output token i makes token i + 1.
    const size_t index =
        std::min(sequence.decode_bits.size() + 1, std::max<size_t>(wish.schedule.size(), 1) - 1);
    sequence.decode_bits.push_back(
        wish.schedule.empty() ? static_cast<uint8_t>(bits_controller_.BitsFor(wish.min_bits))
                              : wish.schedule[index]);
  }
}

void Scheduler::UpdateBits(Clock::time_point now) {
  Load load{.max_waiting = limits_.max_waiting,
            .max_waiting_tokens = limits_.max_waiting_tokens,
            .step_s = last_step_s_};
  const auto note_targets = [&](const Sequence& sequence) {
    if (!sequence.request.auto_bits.has_value()) return;
    load.least_ttft_s = LesserTarget(load.least_ttft_s, sequence.request.auto_bits->ttft_s);
    load.least_tpot_s = LesserTarget(load.least_tpot_s, sequence.request.auto_bits->tpot_s);
  };
  for (const Sequence* sequence : running_) note_targets(*sequence);
  int num_looked_at = 0;
  for (const Sequence* sequence : waiting_) {
    if (sequence->choice > 0) continue;  // as the bounds count: requests
    ++load.num_waiting;
    load.num_waiting_tokens += sequence->num_prompt_tokens();
    if (++num_looked_at > kMaxLookedAt) continue;
    note_targets(*sequence);
    load.oldest_wait_s = std::max(load.oldest_wait_s, Seconds(now - sequence->submitted_at));
  }
  bits_controller_.Update(now, load);
}

void Scheduler::Commit(const StepPlan& plan, Clock::duration step_time) {
  last_step_s_ = Seconds(step_time);
  for (const PlannedChunk& chunk : plan.chunks) {
    Sequence& sequence = *chunk.sequence;
    sequence.num_computed_tokens = chunk.end();
    sequence.num_once_computed = std::max(sequence.num_once_computed, chunk.end());
    const int32_t num_whole = std::min(chunk.end() / kv_.block_tokens(),
                                       static_cast<int32_t>(sequence.prefix_keys.size()));
    for (int32_t& i = sequence.num_listed_blocks; i < num_whole; ++i) {
      kv_.ListBlock(sequence.blocks, i, sequence.prefix_keys[static_cast<size_t>(i)]);
    }
  }
}

void Scheduler::Remove(Sequence* sequence) {
  if (std::erase(running_, sequence) == 0) waiting_.erase(sequence);
  kv_.Free(sequence->blocks);
}

}  // namespace bitdial::engine
