#include "engine/scheduler/bits_controller.h"

#include <algorithm>
#include <utility>

#include "kernels/core/check.h"

namespace bitdial::engine {

BitsController::BitsController(std::vector<int> bits)
    : bits_(std::move(bits)), level_(bits_.size() - 1) {
  BITDIAL_CHECK(!bits_.empty() && std::is_sorted(bits_.begin(), bits_.end()));
}

BitsController::Pressure BitsController::PressureOf(const Load& load) {
  const bool is_half_full = 2 * load.num_waiting >= load.max_waiting ||
                            2 * load.num_waiting_tokens >= load.max_waiting_tokens;
  if (load.num_waiting > 0 && is_half_full) return Pressure::kHigh;
  // Half the target has gone by in the queue: the other half is for the prompt.
  const bool is_late = load.least_ttft_s > 0 && load.oldest_wait_s > load.least_ttft_s / 2;
  const bool is_slow = load.least_tpot_s > 0 && load.step_s > load.least_tpot_s;
  return load.num_waiting > 0 || is_late || is_slow ? Pressure::kSome : Pressure::kNone;
}

void BitsController::Update(Clock::time_point now, const Load& load) {
  const Pressure pressure = PressureOf(load);
  const bool is_pressed = pressure != Pressure::kNone;
  if (is_pressed && !was_pressed_) pressed_since_ = now;
  if (!is_pressed && was_pressed_) calm_since_ = now;
  was_pressed_ = is_pressed;
  updated_at_ = now;
  if (pressure == Pressure::kHigh) {
    while (level_ > 0) Turn(now, /*up=*/false);
  } else if (is_pressed && now - std::max(pressed_since_, changed_at_) >= kDownAfter) {
    Turn(now, /*up=*/false);
  } else if (!is_pressed && now - std::max(calm_since_, changed_at_) >= up_after_) {
    Turn(now, /*up=*/true);
  }
}

void BitsController::CatchUp(Clock::time_point now) {
  if (std::exchange(was_pressed_, false)) calm_since_ = updated_at_;  // what pressed has ended
  for (auto at = std::max(calm_since_, changed_at_) + up_after_;
       at <= now && level_ + 1 < bits_.size(); at = changed_at_ + up_after_) {
    Turn(at, /*up=*/true);
  }
}

void BitsController::Turn(Clock::time_point now, bool up) {
  if (up ? level_ + 1 == bits_.size() : level_ == 0) return;
  if (!up && went_up_ && now - changed_at_ < up_after_) {
    up_after_ = std::min(2 * up_after_, kLongestUpAfter);
  } else if (up && now - changed_at_ > 4 * up_after_) {
    up_after_ = kUpAfter;  // the load that made it careful is long gone
  }
  level_ += up ? 1 : -1;
  went_up_ = up;
  changed_at_ = now;
}

}  // namespace bitdial::engine
