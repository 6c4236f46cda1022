// How many bits requests that leave the choice to the server get now.
#pragma once

#include <vector>

#include "engine/request.h"

namespace bitdial::engine {

// What the last step says about the load.
struct Load {
  int32_t num_waiting = 0;   // requests that no room was found for
  int32_t max_waiting = 0;   // that may wait before others are refused
  int64_t num_waiting_tokens = 0;  // of their prompts
  int64_t max_waiting_tokens = int64_t{1} << 40;  // likewise
  double oldest_wait_s = 0;  // of those
  double step_s = 0;         // the last step's length: what a token costs everybody
  double least_ttft_s = 0;   // targets of the running and waiting that chose them; 0: none has one
  double least_tpot_s = 0;
};

// A dial between the fewest and the most bits of the model. It goes down a notch when load has
// lasted kDownAfter and up a notch when there was none for up_after, which doubles whenever going
// up brought the load back at once: a load just over what a level carries does not make the answers
// swing. A queue half full turns it down at once, before anybody is refused.
//
// Pure: time is an argument.   Thread  engine thread only.
class BitsController {
 public:
  static constexpr std::chrono::milliseconds kDownAfter{250};
  static constexpr std::chrono::milliseconds kUpAfter{2000}, kLongestUpAfter{60'000};

  // bits: ascending, as ModelInfo::bits.
  explicit BitsController(std::vector<int> bits);

  void Update(Clock::time_point now, const Load& load);
  // The engine was idle until now: turns it up as time alone would have.
  void CatchUp(Clock::time_point now);

  // For a request with this floor: the dial, or the floor if that is more.
  int BitsFor(int min_bits) const { return std::max(dial(), min_bits); }
  int dial() const { return bits_[level_]; }

 private:
  enum class Pressure { kNone, kSome, kHigh };
  static Pressure PressureOf(const Load& load);
  void Turn(Clock::time_point now, bool up);

  std::vector<int> bits_;
  size_t level_;                    // index in bits_
  Clock::time_point changed_at_{};  // of level_
  Clock::time_point pressed_since_{}, calm_since_{}, updated_at_{};
  bool was_pressed_ = false, went_up_ = false;
  std::chrono::milliseconds up_after_ = kUpAfter;
};

}  // namespace bitdial::engine
