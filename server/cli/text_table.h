// Tables people can read: columns padded to their widest cell, numbers to the right.
#pragma once

#include <string>
#include <vector>

namespace bitdial::server {

class TextTable {
 public:
  explicit TextTable(std::vector<std::string> header) : rows_{std::move(header)} {}
  // Cells beyond the header's are dropped, missing ones are empty.
  void AddRow(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  // Header, a rule, the rows; each line ends with '\n'. The first column is left-aligned, the
  // others right-aligned.
  std::string ToString() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// "12.3 MB", "1.24 GB"; decimal units.
std::string HumanBytes(int64_t bytes);

}  // namespace bitdial::server
