#include "server/tokenizer/merges_text.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "server/tokenizer/utf8.h"

namespace bitdial::server {
namespace {

constexpr size_t kMaxMerges = 1 << 21;

// Room for tokens that no text makes: OPT's 50,009 have three.
constexpr size_t kFewTokens = 4;
constexpr size_t kTokensPerUnmade = 100;

bool IsOneSymbol(std::string_view token) {
  return token.empty() || NextUtf8(token).length == token.size();
}

bool LooksSpecial(std::string_view token) { return token.starts_with('<') && token.ends_with('>'); }

}  // namespace

absl::StatusOr<Merges> ParseMergesText(std::string_view text, const std::string& path) {
  Merges merges;
  for (size_t line_number = 1; !text.empty(); ++line_number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (line_number == 1 && line.starts_with("#version"))) continue;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
      return DataLoss("{}: merges line {}: expected two tokens; cut short? Copy the file again",
                      path, line_number);
    }
    if (merges.size() == kMaxMerges) return DataLoss("{}: more than {} merges", path, kMaxMerges);
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return merges;
}

absl::Status CheckMergesMakeVocab(const Merges& merges, const std::vector<std::string>& vocab,
                                  const std::vector<AddedToken>& added, const std::string& path) {
  absl::flat_hash_set<std::string> made;
  made.reserve(merges.size() + added.size());
  for (const auto& [left, right] : merges) made.insert(left + right);
  for (const AddedToken& token : added) made.insert(token.content);

  size_t num_tokens = 0, num_unmade = 0;
  std::string_view first_unmade;
  for (const std::string& token : vocab) {
    if (IsOneSymbol(token) || LooksSpecial(token)) continue;
    ++num_tokens;
    if (made.contains(token)) continue;
    if (++num_unmade == 1) first_unmade = token;
  }
  const bool is_few = num_unmade <= kFewTokens + num_tokens / kTokensPerUnmade;
  if (num_unmade == 0 || (is_few && !merges.empty())) return absl::OkStatus();
  return DataLoss(
      "{}: its {} merges make {} of the vocabulary's {} tokens of several symbols, and not \"{}\" "
      "for one: it is cut short or of another tokenizer; copy it again",
      path, merges.size(), num_tokens - num_unmade, num_tokens, first_unmade);
}

}  // namespace bitdial::server
