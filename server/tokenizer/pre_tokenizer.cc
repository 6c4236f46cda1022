#include "server/tokenizer/pre_tokenizer.h"

namespace bitdial::server {

const std::vector<SplitPattern>& KnownPatterns() {
  static const auto* const kPatterns = new std::vector<SplitPattern>{
      {"gpt2", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
      {"llama3",
       R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
      {"qwen2",
       R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
      {"digits", R"(\p{N})"},       // Digits{individual_digits: true}
      {"digit_runs", R"(\p{N}+)"},  // Digits{individual_digits: false}
  };
  return *kPatterns;
}

const SplitPattern* FindPatternByText(std::string_view pattern) {
  for (const SplitPattern& known : KnownPatterns()) {
    if (known.pattern == pattern) return &known;
  }
  return nullptr;
}

const SplitPattern* FindPatternByName(std::string_view name) {
  for (const SplitPattern& known : KnownPatterns()) {
    if (known.name == name) return &known;
  }
  return nullptr;
}

absl::StatusOr<PreTokenizer> PreTokenizer::Make(const std::vector<std::string>& names) {
  PreTokenizer pre_tokenizer;
  for (const std::string& name : names) {
    const SplitPattern* known = FindPatternByName(name);
    if (known == nullptr) return Unimplemented("unknown pre-tokenizer \"{}\"", name);
    BITDIAL_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(known->pattern));
    pre_tokenizer.cuts_.push_back(std::move(regex));
    pre_tokenizer.name_ += (pre_tokenizer.name_.empty() ? "" : "+") + name;
  }
  if (pre_tokenizer.name_ == "digits+gpt2") pre_tokenizer.name_ = "smollm";
  if (pre_tokenizer.name_.empty()) pre_tokenizer.name_ = "none";
  return pre_tokenizer;
}

absl::Status PreTokenizer::Split(std::string_view text,
                                 std::vector<std::string_view>* words) const {
  std::vector<std::string_view> pieces = {text}, next;
  Regex::Scratch scratch;
  for (const Regex& cut : cuts_) {
    next.clear();
    for (const std::string_view piece : pieces) {
      size_t done = 0;
      BITDIAL_RETURN_IF_ERROR(cut.ForEachMatch(piece, &scratch, [&](size_t begin, size_t end) {
        if (begin > done) next.push_back(piece.substr(done, begin - done));
        next.push_back(piece.substr(begin, end - begin));
        done = end;
      }));
      if (done < piece.size()) next.push_back(piece.substr(done));
    }
    pieces.swap(next);
  }
  words->insert(words->end(), pieces.begin(), pieces.end());
  return absl::OkStatus();
}

}  // namespace bitdial::server
