#include "server/tokenizer/tokenizer.h"
#include "server/tokenizer/utf8.h"

namespace bitdial::server {
namespace {

void AppendReplacements(size_t num_bytes, const DecodeRules& rules, std::string* text) {
  for (size_t i = 0; i < (rules.replace_each_byte ? num_bytes : 1); ++i) {
    text->append(kReplacementCharacter);
  }
}

}  // namespace

std::string Detokenizer::Push(int32_t id) {
  const DecodeRules& rules = tokenizer_.decode_rules();
  std::string text;
  if (rules.special_ends_character && tokenizer_.IsSpecial(id)) text = Flush();

  std::string bytes = tokenizer_.TokenBytes(id, /*show_special=*/false);
  using LeadingSpace = DecodeRules::LeadingSpace;
  if (is_at_start_ && rules.leading_space != LeadingSpace::kKeep &&
      tokenizer_.HasLeadingSpace(id)) {
    bytes.erase(0, 1);
    if (rules.leading_space == LeadingSpace::kStripOne) is_at_start_ = false;
  }
  if (!bytes.empty()) is_at_start_ = false;

  pending_ += bytes;
  size_t ofs = 0;
  while (ofs < pending_.size()) {
    const Utf8Step step = NextUtf8(std::string_view(pending_).substr(ofs));
    if (step.kind == Utf8Step::kIncomplete) break;
    if (step.kind == Utf8Step::kCharacter) {
      text.append(pending_, ofs, step.length);
    } else {
      AppendReplacements(step.length, rules, &text);
    }
    ofs += step.length;
  }
  pending_.erase(0, ofs);
  return text;
}

std::string Detokenizer::Flush() {
  std::string text;
  if (!pending_.empty()) AppendReplacements(pending_.size(), tokenizer_.decode_rules(), &text);
  pending_.clear();
  return text;
}

std::string Tokenizer::Decode(const std::vector<int32_t>& ids) const {
  Detokenizer detokenizer(*this);
  std::string text;
  for (const int32_t id : ids) text += detokenizer.Push(id);
  return text + detokenizer.Flush();
}

}  // namespace bitdial::server
