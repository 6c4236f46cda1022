// Any tokens in any order: what the detokenizer emits piece by piece is UTF-8 and, put together,
// what the bytes say as a whole.
//
// The first byte picks the rules. Then tokens, each a byte (length 0 to 15, and the flag kSpecial)
// and its bytes.
#include <string>
#include <vector>

#include "kernels/core/check.h"
#include "server/tokenizer/tokenizer.h"
#include "tests/testing/fuzz_bytes.h"

namespace {

using bitdial::server::DecodeRules;
using bitdial::server::Detokenizer;
using LeadingSpace = DecodeRules::LeadingSpace;

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr uint8_t kSpecial = 0x10;

struct Token {
  std::string bytes;
  bool is_special;
};

class ListTokenizer final : public bitdial::server::Tokenizer {
 public:
  ListTokenizer(std::vector<Token> tokens, const DecodeRules& rules)
      : tokens_(std::move(tokens)), rules_(rules) {}

  std::string TokenBytes(int32_t id, bool show_special) const override {
    return IsSpecial(id) && !show_special ? "" : At(id).bytes;
  }
  bool HasLeadingSpace(int32_t id) const override {
    return !IsSpecial(id) && At(id).bytes.starts_with(' ');
  }
  bool IsSpecial(int32_t id) const override { return At(id).is_special; }
  const DecodeRules& decode_rules() const override { return rules_; }
  int32_t vocab_size() const override { return static_cast<int32_t>(tokens_.size()); }

  absl::StatusOr<std::vector<int32_t>> Encode(
      std::string_view, const bitdial::server::EncodeOptions&) const override {
    return bitdial::Unimplemented("no text goes in");
  }
  std::optional<int32_t> bos_id() const override { return std::nullopt; }
  std::vector<int32_t> eos_ids() const override { return {}; }
  std::string kind() const override { return "list"; }
  const std::string& chat_template() const override { return no_template_; }

 private:
  const Token& At(int32_t id) const { return tokens_[static_cast<size_t>(id)]; }
  const std::vector<Token> tokens_;
  const DecodeRules rules_;
  const std::string no_template_;
};

// The reference, written the other way round: the bytes of a whole stretch, decoded from a table of
// well-formed sequences (Unicode 15, table 3-7), by trying the longest prefix first.
struct Form {
  uint8_t ranges[4][2];
  size_t length;
};
constexpr Form kForms[] = {
    {{{0x00, 0x7F}}, 1},
    {{{0xC2, 0xDF}, {0x80, 0xBF}}, 2},
    {{{0xE0, 0xE0}, {0xA0, 0xBF}, {0x80, 0xBF}}, 3},
    {{{0xE1, 0xEC}, {0x80, 0xBF}, {0x80, 0xBF}}, 3},
    {{{0xED, 0xED}, {0x80, 0x9F}, {0x80, 0xBF}}, 3},
    {{{0xEE, 0xEF}, {0x80, 0xBF}, {0x80, 0xBF}}, 3},
    {{{0xF0, 0xF0}, {0x90, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}, 4},
    {{{0xF1, 0xF3}, {0x80, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}, 4},
    {{{0xF4, 0xF4}, {0x80, 0x8F}, {0x80, 0xBF}, {0x80, 0xBF}}, 4},
};

// How many bytes of `form` the text begins with.
size_t PrefixOf(const Form& form, std::string_view text) {
  size_t length = 0;
  while (length < form.length && length < text.size()) {
    const auto byte = static_cast<uint8_t>(text[length]);
    if (byte < form.ranges[length][0] || byte > form.ranges[length][1]) break;
    ++length;
  }
  return length;
}

std::string Decoded(std::string_view bytes, bool replace_each_byte) {
  std::string text;
  while (!bytes.empty()) {
    size_t longest = 1;  // a byte that begins nothing is replaced alone
    bool is_whole = false;
    for (const Form& form : kForms) {
      const size_t length = PrefixOf(form, bytes);
      if (length < longest) continue;
      longest = length;
      is_whole = length == form.length;
      if (is_whole) break;
    }
    for (size_t i = 0; i < (replace_each_byte ? longest : 1) && !is_whole; ++i)
      text += kReplacement;
    if (is_whole) text += bytes.substr(0, longest);
    bytes.remove_prefix(longest);
  }
  return text;
}

std::string Expected(const std::vector<Token>& tokens, const DecodeRules& rules, bool is_at_start) {
  std::string text, stretch;
  bool may_strip = is_at_start && rules.leading_space != LeadingSpace::kKeep;
  for (const Token& token : tokens) {
    if (token.is_special) {
      if (!rules.special_ends_character) continue;
      text += Decoded(stretch, rules.replace_each_byte);
      stretch.clear();
      continue;
    }
    std::string_view bytes = token.bytes;
    const bool strips = may_strip && bytes.starts_with(' ');
    if (strips) bytes.remove_prefix(1);
    if (!bytes.empty() || (strips && rules.leading_space == LeadingSpace::kStripOne)) {
      may_strip = false;
    }
    stretch += bytes;
  }
  return text + Decoded(stretch, rules.replace_each_byte);
}

void CheckStream(const std::vector<Token>& tokens, const DecodeRules& rules, bool is_at_start) {
  const ListTokenizer tokenizer(tokens, rules);
  Detokenizer detokenizer(tokenizer);
  if (!is_at_start) detokenizer.ContinueAfterPrompt();
  std::string text;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string piece = detokenizer.Push(id);
    BITDIAL_CHECK(Decoded(piece, true) == piece);  // whole characters alone
    text += piece;
  }
  const std::string rest = detokenizer.Flush();
  BITDIAL_CHECK(rest.size() <= 3 * kReplacement.size());  // never holds back a whole character
  BITDIAL_CHECK(detokenizer.Flush().empty());
  BITDIAL_CHECK(text + rest == Expected(tokens, rules, is_at_start));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const DecodeRules rules = {.leading_space = static_cast<LeadingSpace>(data[0] % 3),
                             .replace_each_byte = (data[0] & 0x10) != 0,
                             .special_ends_character = (data[0] & 0x20) != 0};
  std::vector<Token> tokens;
  for (std::string_view rest = bitdial::testing::AsText(data + 1, size - 1); !rest.empty();) {
    const auto head = static_cast<uint8_t>(rest[0]);
    rest.remove_prefix(1);
    const std::string_view bytes = rest.substr(0, head & 0x0F);
    rest.remove_prefix(bytes.size());
    tokens.push_back({std::string(bytes), (head & kSpecial) != 0});
  }
  CheckStream(tokens, rules, (data[0] & 0x40) == 0);
  return 0;
}
