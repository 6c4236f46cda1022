#include "server/rpc/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace bitdial::server {

std::string StopMatcher::Push(const std::string& text) {
  if (matched()) return "";
  if (stops_.empty()) return text;
  const size_t num_searched = held_.size();  // no match ends in what was held back
  held_ += text;
  for (size_t end = num_searched + 1; end <= held_.size(); ++end) {
    match_ = MatchEndingAt(end);
    if (match_ != nullptr) {
      std::string before = held_.substr(0, end - match_->size());
      held_.clear();
      return before;
    }
  }
  std::string certain = held_.substr(0, held_.size() - HeldBackBytes());
  held_.erase(0, certain.size());
  return certain;
}

std::string StopMatcher::Flush() { return std::exchange(held_, ""); }

const std::string* StopMatcher::MatchEndingAt(size_t end) const {
  const std::string* longest = nullptr;
  for (const std::string& stop : stops_) {
    if (stop.size() > end || held_.compare(end - stop.size(), stop.size(), stop) != 0) continue;
    if (longest == nullptr || stop.size() > longest->size()) longest = &stop;
  }
  return longest;
}

size_t StopMatcher::HeldBackBytes() const {
  size_t held_back = 0;
  for (const std::string& stop : stops_) {
    for (size_t size = std::min(stop.size() - 1, held_.size()); size > held_back; --size) {
      if (held_.compare(held_.size() - size, size, stop, 0, size) == 0) held_back = size;
    }
  }
  return held_back;
}

}  // namespace bitdial::server
