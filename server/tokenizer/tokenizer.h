// Text <-> token ids. The engine below never sees text.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"

namespace bitdial::server {

struct EncodeOptions {
  bool add_special_tokens = true;  // BOS and the like, as the model's own config says
  bool parse_special_tokens =
      true;  // "<|im_end|>" in the text becomes its id; false: it is plain text
};

// How the reference library puts tokens together to a text.
struct DecodeRules {
  enum class LeadingSpace {
    kKeep,
    kStripOne,  // SentencePiece's dummy prefix: the space mark of the first token is not text
    kStripAll,  // with remove_extra_whitespaces: of every token until there is text
  };
  LeadingSpace leading_space = LeadingSpace::kKeep;
  bool replace_each_byte = false;  // U+FFFD for each invalid byte (SentencePiece), not each maximal
                                   // subpart (Rust's lossy)
  bool special_ends_character =
      false;  // bytes before and after a special token never join (SentencePiece)
};

// Thread   const after Load: any.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // From Checkpoint::tokenizer_path(): a .gguf file, or a folder with tokenizer.json |
  // tokenizer.model | vocab.gguf | vocab.json and merges.txt (looked for in that order; added
  // tokens and flags from tokenizer_config.json). Errors  NOT_FOUND no tokenizer file; DATA_LOSS
  // malformed; UNIMPLEMENTED a kind or pre-tokenizer we do not have
  //         (names it and lists those we do).
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& path);

  // Errors  INVALID_ARGUMENT text is not UTF-8 (says the byte offset).
  virtual absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                                      const EncodeOptions& options) const = 0;

  // The bytes token `id` stands for inside a text; special tokens give "" unless show_special. Ids
  // outside the vocabulary give "". Bytes of one token may be part of a UTF-8 character: see
  // Detokenizer.
  virtual std::string TokenBytes(int32_t id, bool show_special) const = 0;

  // True when TokenBytes(id) begins with a space that DecodeRules::leading_space may strip.
  virtual bool HasLeadingSpace(int32_t id) const = 0;
  virtual const DecodeRules& decode_rules() const = 0;

  virtual int32_t vocab_size() const = 0;  // ids >= this are never sampled
  virtual std::optional<int32_t> bos_id() const = 0;
  virtual std::vector<int32_t> eos_ids() const = 0;
  virtual bool IsSpecial(int32_t id) const = 0;
  virtual std::string kind() const = 0;  // "sentencepiece", "byte-level BPE (llama3)", ...
  // The model's own Jinja chat template; empty when it has none.
  virtual const std::string& chat_template() const = 0;

  // The whole text of a list of ids, as the reference library decodes it (special tokens skipped).
  // Incomplete UTF-8 becomes U+FFFD.
  std::string Decode(const std::vector<int32_t>& ids) const;
};

// Token ids in, text out, as they come. Never emits half a UTF-8 character and never loses one:
// bytes that cannot yet be a whole character are held back; Flush gives what is left with invalid
// bytes replaced by U+FFFD. The concatenation of all Push results and Flush equals
// Tokenizer::Decode of the same ids. Thread   one stream's own. The tokenizer must outlive it.
class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  // Continues a text: the first Push is not at the beginning (no leading space is stripped).
  void ContinueAfterPrompt() { is_at_start_ = false; }
  std::string Push(int32_t id);
  std::string Flush();

 private:
  const Tokenizer& tokenizer_;
  std::string pending_;  // < 4 bytes that may still become a character
  bool is_at_start_ = true;
};

}  // namespace bitdial::server
