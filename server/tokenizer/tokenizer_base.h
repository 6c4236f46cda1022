// What every tokenizer shares: the UTF-8 check, added tokens cut out of the text, BOS and EOS
// around it.
#pragma once

#include <string>
#include <vector>

#include "server/tokenizer/added_tokens.h"
#include "server/tokenizer/tokenizer.h"

namespace bitdial::server {

// The part of a tokenizer that is not its model.
struct TokenizerFrame {
  AddedTokens added;
  std::vector<int32_t> prefix, suffix;  // put around a text by add_special_tokens
  std::optional<int32_t> bos;
  std::vector<int32_t> eos;
  std::string chat_template;
  DecodeRules decode_rules;
  std::string kind;
};

class TokenizerBase : public Tokenizer {
 public:
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const EncodeOptions& options) const final;
  std::string TokenBytes(int32_t id, bool show_special) const final;
  bool HasLeadingSpace(int32_t id) const override;
  bool IsSpecial(int32_t id) const override;
  const DecodeRules& decode_rules() const final { return frame_.decode_rules; }
  int32_t vocab_size() const final { return static_cast<int32_t>(bytes_.size()); }
  std::optional<int32_t> bos_id() const final { return frame_.bos; }
  std::vector<int32_t> eos_ids() const final { return frame_.eos; }
  std::string kind() const final { return frame_.kind; }
  const std::string& chat_template() const final { return frame_.chat_template; }

 protected:
  // bytes: what each id stands for; ids in the frame must be inside it (CHECK).
  TokenizerBase(std::vector<std::string> bytes, TokenizerFrame frame);

  // Appends the ids of UTF-8 text in which no added token is to be found.
  virtual absl::Status EncodePlain(std::string_view text, std::vector<int32_t>* ids) const = 0;

  bool IsInVocabulary(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < bytes_.size();
  }

  std::vector<std::string> bytes_;  // by id
  TokenizerFrame frame_;
};

}  // namespace bitdial::server
