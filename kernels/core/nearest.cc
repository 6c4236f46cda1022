#include "kernels/core/nearest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>

namespace bitdial {
namespace {

// Names compared in full; longer ones only by this many bytes, so that a hostile name costs no
// more.
constexpr size_t kMaxCompared = 128;
// Candidates looked at: a message is not worth more.
constexpr size_t kMaxCandidates = 20000;

// Levenshtein distance with one row of the table.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substitute = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, substitute});
    }
  }
  return row.back();
}

}  // namespace

std::vector<std::string> NearestNames(std::string_view name,
                                      const std::vector<std::string>& candidates,
                                      size_t max_results) {
  const std::string_view wanted = name.substr(0, kMaxCompared);
  std::vector<std::pair<size_t, size_t>> ranked;  // (distance, index)
  for (size_t i = 0; i < std::min(candidates.size(), kMaxCandidates); ++i) {
    const size_t distance =
        EditDistance(wanted, std::string_view(candidates[i]).substr(0, kMaxCompared));
    if (2 * distance < wanted.size()) ranked.emplace_back(distance, i);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::string> nearest;
  for (const auto& [distance, index] : ranked) {
    if (nearest.size() == max_results) break;
    nearest.push_back(candidates[index]);
  }
  return nearest;
}

std::string DidYouMean(std::string_view name, const std::vector<std::string>& candidates) {
  const std::vector<std::string> nearest = NearestNames(name, candidates);
  if (nearest.empty()) return "";
  return fmt::format("; did you mean \"{}\"?", fmt::join(nearest, "\", \""));
}

}  // namespace bitdial
