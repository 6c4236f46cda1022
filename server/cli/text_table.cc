#include "server/cli/text_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace bitdial::server {

std::string TextTable::ToString() const {
  const size_t num_columns = rows_.front().size();
  std::vector<size_t> widths(num_columns, 0);
  for (const auto& row : rows_) {
    for (size_t c = 0; c < std::min(num_columns, row.size()); ++c)
      widths[c] = std::max(widths[c], row[c].size());
  }
  std::string text;
  for (size_t r = 0; r < rows_.size(); ++r) {
    std::string line;
    for (size_t c = 0; c < num_columns; ++c) {
      const std::string cell = c < rows_[r].size() ? rows_[r][c] : "";
      line += c == 0 ? fmt::format("{:<{}}", cell, widths[c])
                     : fmt::format("  {:>{}}", cell, widths[c]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
    if (r == 0) {
      size_t total = 0;
      for (size_t c = 0; c < num_columns; ++c) total += widths[c] + (c == 0 ? 0 : 2);
      text += std::string(total, '-') + "\n";
    }
  }
  return text;
}

std::string HumanBytes(int64_t bytes) {
  const double value = static_cast<double>(bytes);
  if (bytes >= 1'000'000'000) return fmt::format("{:.2f} GB", value / 1e9);
  if (bytes >= 1'000'000) return fmt::format("{:.1f} MB", value / 1e6);
  if (bytes >= 1'000) return fmt::format("{:.1f} kB", value / 1e3);
  return fmt::format("{} B", bytes);
}

}  // namespace bitdial::server
