#include "server/tokenizer/added_tokens.h"

#include "server/tokenizer/utf8.h"

namespace bitdial::server {
namespace {

// Of all contents together: each byte may become a node of a trie, and real models have a few KiB.
constexpr size_t kMaxContentBytes = 64u << 20;

// The end of the white space that begins at `begin`.
size_t SkipSpace(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const Utf8Step step = NextUtf8(text.substr(begin));
    if (step.kind != Utf8Step::kCharacter || !IsWhiteSpace(step.code_point)) break;
    begin += step.length;
  }
  return begin;
}

// The begin of the white space that ends at `end`.
size_t SkipSpaceBack(std::string_view text, size_t end) {
  while (end > 0) {
    size_t begin = end - 1;
    while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
    if (!IsWhiteSpace(NextUtf8(text.substr(begin)).code_point)) break;
    end = begin;
  }
  return end;
}

}  // namespace

void AddedTokens::Trie::Add(std::string_view content, int32_t token) {
  int32_t node = 0;
  for (const char c : content) {
    const uint64_t key = (static_cast<uint64_t>(node) << 8) | static_cast<uint8_t>(c);
    const auto [it, is_new] = children.try_emplace(key, static_cast<int32_t>(token_at.size()));
    if (is_new) token_at.push_back(-1);
    node = it->second;
  }
  token_at[static_cast<size_t>(node)] = token;
}

int32_t AddedTokens::Trie::Longest(std::string_view text, const std::vector<AddedToken>& tokens,
                                   bool with_special) const {
  int32_t node = 0, longest = -1;
  for (const char c : text) {
    const auto it = children.find((static_cast<uint64_t>(node) << 8) | static_cast<uint8_t>(c));
    if (it == children.end()) break;
    node = it->second;
    const int32_t token = token_at[static_cast<size_t>(node)];
    if (token >= 0 && (with_special || !tokens[static_cast<size_t>(token)].special))
      longest = token;
  }
  return longest;
}

absl::StatusOr<AddedTokens> AddedTokens::Make(std::vector<AddedToken> tokens) {
  AddedTokens added;
  added.tokens_ = std::move(tokens);
  absl::flat_hash_map<std::string, int32_t> ids;
  size_t num_bytes = 0;
  for (size_t i = 0; i < added.tokens_.size(); ++i) {
    const AddedToken& token = added.tokens_[i];
    if (token.content.empty()) return DataLoss("added token {} has no content", token.id);
    num_bytes += token.content.size();
    if (num_bytes > kMaxContentBytes) {
      return DataLoss("the added tokens have more than {} bytes of content", kMaxContentBytes);
    }
    const auto [it, is_new] = ids.try_emplace(token.content, token.id);
    if (!is_new && it->second != token.id) {
      return DataLoss("added token \"{}\" has two ids, {} and {}", token.content, it->second,
                      token.id);
    }
    (token.normalized ? added.normalized_ : added.raw_).Add(token.content, static_cast<int32_t>(i));
    added.index_of_id_[token.id] = static_cast<int32_t>(i);
  }
  return added;
}

const AddedToken* AddedTokens::Find(int32_t id) const {
  const auto it = index_of_id_.find(id);
  return it == index_of_id_.end() ? nullptr : &tokens_[static_cast<size_t>(it->second)];
}

const AddedToken* AddedTokens::Find(std::string_view content) const {
  for (const AddedToken& token : tokens_) {
    if (token.content == content) return &token;
  }
  return nullptr;
}

void AddedTokens::SplitWith(const Trie& trie, std::string_view text, bool with_special,
                            std::vector<Segment>* out) const {
  size_t begin = 0;  // of the plain text not yet given out
  for (size_t ofs = 0; ofs < text.size();) {
    const int32_t found = trie.Longest(text.substr(ofs), tokens_, with_special);
    if (found < 0) {
      ++ofs;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(found)];
    size_t end = ofs + token.content.size();
    if (token.lstrip) ofs = begin + SkipSpaceBack(text.substr(begin, ofs - begin), ofs - begin);
    if (token.rstrip) end = SkipSpace(text, end);
    if (ofs > begin) out->push_back({text.substr(begin, ofs - begin), -1});
    out->push_back({{}, token.id});
    begin = ofs = end;
  }
  if (begin < text.size()) out->push_back({text.substr(begin), -1});
}

std::vector<Segment> AddedTokens::Split(std::string_view text, bool with_special) const {
  std::vector<Segment> first, second;
  SplitWith(raw_, text, with_special, &first);
  if (normalized_.token_at.size() == 1) return first;
  for (const Segment& segment : first) {
    if (segment.id >= 0) {
      second.push_back(segment);
    } else {
      SplitWith(normalized_, segment.text, with_special, &second);
    }
  }
  return second;
}

}  // namespace bitdial::server
