#include "server/tokenizer/bpe_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/tokenizer/byte_alphabet.h"
#include "server/tokenizer/utf8.h"

namespace bitdial::server {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581
constexpr size_t kMaxTokens = 1 << 21;

using IdOfToken = absl::flat_hash_map<std::string, int32_t>;

std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t begin = 0;;) {
    const size_t found = text.find(from, begin);
    out.append(text.substr(begin, found - begin));
    if (found == std::string_view::npos) return out;
    out.append(to);
    begin = found + from.size();
  }
}

std::optional<uint8_t> ByteOfFallbackToken(std::string_view token) {
  for (unsigned byte = 0; token.size() == 6 && byte < 256; ++byte) {
    if (token == fmt::format("<0x{:02X}>", byte)) return static_cast<uint8_t>(byte);
  }
  return std::nullopt;
}

std::string BytesOf(const std::string& token, const BpeSpec& spec) {
  if (spec.alphabet == BpeSpec::Alphabet::kBytes) return BytesOfToken(token).value_or(token);
  if (spec.byte_fallback) {
    if (const auto byte = ByteOfFallbackToken(token))
      return std::string(1, static_cast<char>(*byte));
  }
  return ReplaceAll(token, kSpaceMark, " ");
}

absl::StatusOr<IdOfToken> IndexTokens(const std::vector<std::string>& tokens) {
  if (tokens.empty() || tokens.size() > kMaxTokens) {
    return DataLoss("{} tokens; expected 1 to {}", tokens.size(), kMaxTokens);
  }
  IdOfToken ids;
  ids.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].empty()) continue;
    if (FindInvalidUtf8(tokens[id])) return DataLoss("token {} is not UTF-8", id);
    const auto [it, is_new] = ids.try_emplace(tokens[id], static_cast<int32_t>(id));
    if (!is_new)
      return DataLoss("token \"{}\" is there twice, as {} and {}", tokens[id], it->second, id);
  }
  return ids;
}

absl::StatusOr<BpeMerges> IndexMerges(
    const std::vector<std::pair<std::string, std::string>>& merges, const IdOfToken& ids) {
  BpeMerges indexed;
  indexed.Reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const std::string joined = left + right;
    for (const std::string* token : {&left, &right, &joined}) {
      if (ids.contains(*token)) continue;
      return DataLoss(
          "merge {} (\"{}\" and \"{}\"): \"{}\" is no token; take vocabulary and merges from one "
          "tokenizer",
          rank, left, right, *token);
    }
    indexed.Add(ids.at(left), ids.at(right), static_cast<int32_t>(rank), ids.at(joined));
  }
  return indexed;
}

// True when a space mark follows something else in `token`.
bool HasSpaceInside(std::string_view token) {
  while (token.starts_with(kSpaceMark)) token.remove_prefix(kSpaceMark.size());
  return token.find(kSpaceMark) != std::string_view::npos;
}

// Words that begin with their space marks: no merge of a vocabulary without HasSpaceInside crosses
// their ends.
void CutAtSpaces(std::string_view text, std::vector<std::string_view>* words) {
  while (!text.empty()) {
    size_t end = 0;
    while (text.substr(end).starts_with(kSpaceMark)) end += kSpaceMark.size();
    end = std::min(text.find(kSpaceMark, end), text.size());
    words->push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

absl::Status AddTokens(const std::vector<AddedToken>& added, std::vector<std::string>* tokens) {
  for (const AddedToken& token : added) {
    if (token.id < 0 || static_cast<size_t>(token.id) >= kMaxTokens) {
      return DataLoss("added token \"{}\" has id {}; expected 0 to {}", token.content, token.id,
                      kMaxTokens - 1);
    }
    const size_t id = static_cast<size_t>(token.id);
    if (tokens->size() <= id) tokens->resize(id + 1);
    std::string& content = (*tokens)[id];
    if (!content.empty() && content != token.content) {
      return DataLoss("added token {} is \"{}\", but the vocabulary has \"{}\" there", id,
                      token.content, content);
    }
    content = token.content;
  }
  return absl::OkStatus();
}

absl::Status CheckIds(const BpeSpec& spec) {
  const auto check = [&](const char* what, int32_t id) {
    if (id >= 0 && static_cast<size_t>(id) < spec.tokens.size()) return absl::OkStatus();
    return DataLoss("{} is {}, but there are {} tokens", what, id, spec.tokens.size());
  };
  for (const int32_t id : spec.frame.prefix)
    BITDIAL_RETURN_IF_ERROR(check("a token put before the text", id));
  for (const int32_t id : spec.frame.suffix)
    BITDIAL_RETURN_IF_ERROR(check("a token put after the text", id));
  for (const int32_t id : spec.frame.eos) BITDIAL_RETURN_IF_ERROR(check("the EOS token", id));
  if (spec.frame.bos) BITDIAL_RETURN_IF_ERROR(check("the BOS token", *spec.frame.bos));
  if (spec.unknown_id) BITDIAL_RETURN_IF_ERROR(check("the unknown token", *spec.unknown_id));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> BpeTokenizer::Make(BpeSpec spec) {
  BITDIAL_ASSIGN_OR_RETURN(const IdOfToken ids, IndexTokens(spec.tokens));
  BITDIAL_ASSIGN_OR_RETURN(BpeMerges merges, IndexMerges(spec.merges, ids));
  BITDIAL_ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::Make(spec.pre_tokenizer));
  BITDIAL_RETURN_IF_ERROR(AddTokens(spec.added, &spec.tokens));
  BITDIAL_RETURN_IF_ERROR(CheckIds(spec));
  BITDIAL_ASSIGN_OR_RETURN(spec.frame.added, AddedTokens::Make(std::move(spec.added)));

  std::vector<std::string> bytes;
  bytes.reserve(spec.tokens.size());
  for (const std::string& token : spec.tokens) bytes.push_back(BytesOf(token, spec));
  const bool is_bytes = spec.alphabet == BpeSpec::Alphabet::kBytes;
  spec.frame.kind = is_bytes ? fmt::format("byte-level BPE ({})", pre_tokenizer.name())
                             : "BPE with byte fallback";
  if (!is_bytes) {
    spec.frame.decode_rules = {.leading_space = spec.space_prefix
                                                    ? DecodeRules::LeadingSpace::kStripOne
                                                    : DecodeRules::LeadingSpace::kKeep,
                               .replace_each_byte = true};
  }

  std::unique_ptr<BpeTokenizer> tokenizer(
      new BpeTokenizer(std::move(bytes), std::move(spec.frame)));
  tokenizer->alphabet_ = spec.alphabet;
  tokenizer->ignore_merges_ = spec.ignore_merges;
  tokenizer->fuse_unknown_ = spec.fuse_unknown;
  tokenizer->space_prefix_ = spec.space_prefix;
  tokenizer->unknown_id_ = spec.unknown_id;
  tokenizer->pre_tokenizer_ = std::move(pre_tokenizer);
  tokenizer->merges_ = std::move(merges);
  tokenizer->cuts_at_spaces_ = !is_bytes && ids.contains(std::string(kSpaceMark)) &&
                               std::none_of(spec.tokens.begin(), spec.tokens.end(), HasSpaceInside);
  for (unsigned byte = 0; byte < 256; ++byte) {
    const std::string token =
        is_bytes ? ByteCharacter(static_cast<uint8_t>(byte)) : fmt::format("<0x{:02X}>", byte);
    const auto it = is_bytes || spec.byte_fallback ? ids.find(token) : ids.end();
    tokenizer->id_of_byte_[byte] = it == ids.end() ? -1 : it->second;
  }
  if (!is_bytes) {
    tokenizer->id_of_text_ = ids;
  } else if (spec.ignore_merges) {
    for (const auto& [token, id] : ids) {
      if (auto word = BytesOfToken(token)) tokenizer->id_of_text_.emplace(*std::move(word), id);
    }
  }
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

void BpeTokenizer::StartWithBytes(std::string_view word, std::vector<int32_t>* symbols) const {
  for (const char c : word) {
    const int32_t id = id_of_byte_[static_cast<uint8_t>(c)];
    if (id >= 0) {
      symbols->push_back(id);
    } else if (unknown_id_) {
      symbols->push_back(*unknown_id_);
    }
  }
}

void BpeTokenizer::StartWithCharacters(std::string_view word, std::vector<int32_t>* symbols) const {
  bool was_unknown = false;
  while (!word.empty()) {
    const std::string_view character = word.substr(0, NextUtf8(word).length);
    word.remove_prefix(character.size());
    const auto it = id_of_text_.find(std::string(character));
    const bool has_bytes = it == id_of_text_.end() && [&] {
      for (const char c : character) {
        if (id_of_byte_[static_cast<uint8_t>(c)] < 0) return false;
      }
      return true;
    }();
    const bool is_unknown = it == id_of_text_.end() && !has_bytes;
    if (it != id_of_text_.end()) {
      symbols->push_back(it->second);
    } else if (has_bytes) {
      StartWithBytes(character, symbols);
    } else if (unknown_id_ && !(fuse_unknown_ && was_unknown)) {
      symbols->push_back(*unknown_id_);
    }
    was_unknown = is_unknown;
  }
}

absl::Status BpeTokenizer::EncodePlain(std::string_view text, std::vector<int32_t>* ids) const {
  std::string changed;
  if (alphabet_ == BpeSpec::Alphabet::kCharacters) {
    changed = (space_prefix_ ? std::string(kSpaceMark) : "") + ReplaceAll(text, " ", kSpaceMark);
    text = changed;
  } else if (space_prefix_ && !text.starts_with(' ')) {
    changed = " " + std::string(text);
    text = changed;
  }
  std::vector<std::string_view> words;
  if (cuts_at_spaces_) {
    CutAtSpaces(text, &words);
  } else {
    BITDIAL_RETURN_IF_ERROR(pre_tokenizer_.Split(text, &words));
  }
  std::vector<int32_t> symbols;
  for (const std::string_view word : words) {
    if (ignore_merges_) {
      if (const auto it = id_of_text_.find(std::string(word)); it != id_of_text_.end()) {
        ids->push_back(it->second);
        continue;
      }
    }
    symbols.clear();
    if (alphabet_ == BpeSpec::Alphabet::kBytes) {
      StartWithBytes(word, &symbols);
    } else {
      StartWithCharacters(word, &symbols);
    }
    merges_.Apply(&symbols);
    ids->insert(ids->end(), symbols.begin(), symbols.end());
  }
  return absl::OkStatus();
}

}  // namespace bitdial::server
