// merges.txt, which lies beside vocab.json.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/core/status.h"
#include "server/tokenizer/added_tokens.h"

namespace bitdial::server {

using Merges = std::vector<std::pair<std::string, std::string>>;

// The lines "left right", of which the first may be a "#version".
// Errors  DATA_LOSS a line of another form (file, line).
absl::StatusOr<Merges> ParseMergesText(std::string_view text, const std::string& path);

// A file that was cut short is still a list of merges, and a text would become other tokens than
// those the model was trained on. But what it lost shows in the vocabulary: tokens of several
// symbols that no merge makes. A few of those are normal, for vocabularies hold words that no text
// makes (OPT's "madeupword0000"); special tokens, `added` or written "<so>", are not counted.
// Errors  DATA_LOSS more than 4 and 1% of the tokens, or all of them (file, count, an example).
absl::Status CheckMergesMakeVocab(const Merges& merges, const std::vector<std::string>& vocab,
                                  const std::vector<AddedToken>& added, const std::string& path);

}  // namespace bitdial::server
