// Cuts plain text into the words that BPE merges within.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"
#include "server/tokenizer/regex.h"

namespace bitdial::server {

// One cut by a published pattern. Only these are taken: another regex library's pattern may mean
// something else here.
struct SplitPattern {
  std::string name;     // "gpt2"
  std::string pattern;  // as tokenizer.json writes it
};
const std::vector<SplitPattern>& KnownPatterns();
// nullptr when there is none.
const SplitPattern* FindPatternByText(std::string_view pattern);
const SplitPattern* FindPatternByName(std::string_view name);

// A chain of cuts: each cuts the pieces of the one before. Matches and the text between them become
// pieces of their own.
class PreTokenizer {
 public:
  // Names of patterns, first cut first; empty: the text is one word.
  // Errors  UNIMPLEMENTED a name that is not known.
  static absl::StatusOr<PreTokenizer> Make(const std::vector<std::string>& names);

  absl::Status Split(std::string_view text, std::vector<std::string_view>* words) const;

  // "llama3", "smollm" for digits then gpt2, "a+b" for other chains, "none".
  const std::string& name() const { return name_; }

 private:
  std::vector<Regex> cuts_;
  std::string name_;
};

}  // namespace bitdial::server
