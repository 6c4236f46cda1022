// "Did you mean": the names closest to a wrong one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bitdial {

// Up to `max_results` candidates by edit distance, nearest first; only those that differ in less
// than half of `name`, for a suggestion that shares nothing is noise.
std::vector<std::string> NearestNames(std::string_view name,
                                      const std::vector<std::string>& candidates,
                                      size_t max_results = 3);

// "; did you mean \"a\", \"b\"?", or "" when there is nothing near: for the end of a message.
std::string DidYouMean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace bitdial
