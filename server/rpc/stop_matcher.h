// Finds stop strings in text that comes in pieces.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace bitdial::server {

// The match that is complete first wins; of several that end at the same byte, the longest. So the
// outcome does not depend on how the text was cut into pieces. Text that may still become a match
// is held back. Thread   one stream's own.
class StopMatcher {
 public:
  // stops: not empty strings. None: Push passes everything through.
  explicit StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}
  StopMatcher(const StopMatcher&) = delete;  // match_ points into stops_
  StopMatcher& operator=(const StopMatcher&) = delete;

  // Returns the text that is certain to be before any match. After a match: only what was left
  // before it, then "".
  std::string Push(const std::string& text);
  // The text held back, when no more will come.
  std::string Flush();

  bool matched() const { return match_ != nullptr; }
  const std::string& match() const { return *match_; }  // the stop string found; needs matched()

 private:
  // The longest stop string that ends at held_[end), nullptr when none does.
  const std::string* MatchEndingAt(size_t end) const;
  // How many bytes at the end of held_ are a beginning of some stop string.
  size_t HeldBackBytes() const;

  const std::vector<std::string> stops_;
  const std::string* match_ = nullptr;
  std::string held_;  // shorter than the longest stop string between calls
};

}  // namespace bitdial::server
