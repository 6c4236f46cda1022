// BPE over bytes (GPT-2, Llama 3, SmolLM2), or over characters with bytes as the fallback (a
// SentencePiece model written as tokenizer.json).
#pragma once

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/tokenizer/bpe.h"
#include "server/tokenizer/pre_tokenizer.h"
#include "server/tokenizer/tokenizer_base.h"

namespace bitdial::server {

// What a file says, before it is checked.
struct BpeSpec {
  enum class Alphabet {
    kBytes,       // tokens are written in GPT-2's byte alphabet
    kCharacters,  // tokens are text with U+2581 for a space, and "<0x0A>" for a byte
  };
  Alphabet alphabet = Alphabet::kBytes;
  std::vector<std::string> tokens;                          // by id; "" where there is none
  std::vector<std::pair<std::string, std::string>> merges;  // first merges first
  bool ignore_merges = false;                               // a word that is a token is that token
  bool fuse_unknown = false;   // kCharacters: one unknown token for a run
  bool byte_fallback = false;  // kCharacters
  bool space_prefix = false;   // a space is put before text that does not begin with one (kBytes),
                               // before any (kCharacters)
  std::optional<int32_t> unknown_id;  // for what the vocabulary lacks; without it that is dropped
  std::vector<std::string> pre_tokenizer;  // names of patterns
  std::vector<AddedToken> added;
  TokenizerFrame frame;  // all but added, decode_rules and kind
};

class BpeTokenizer final : public TokenizerBase {
 public:
  // Errors  DATA_LOSS a merge of or into something that is no token, a token that is there twice,
  // ids out of range;
  //         UNIMPLEMENTED an unknown pre-tokenizer.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Make(BpeSpec spec);

 protected:
  absl::Status EncodePlain(std::string_view text, std::vector<int32_t>* ids) const override;

 private:
  BpeTokenizer(std::vector<std::string> bytes, TokenizerFrame frame)
      : TokenizerBase(std::move(bytes), std::move(frame)) {}

  void StartWithBytes(std::string_view word, std::vector<int32_t>* symbols) const;
  void StartWithCharacters(std::string_view word, std::vector<int32_t>* symbols) const;

  BpeSpec::Alphabet alphabet_ = BpeSpec::Alphabet::kBytes;
  bool ignore_merges_ = false, fuse_unknown_ = false, space_prefix_ = false;
  bool cuts_at_spaces_ = false;  // kCharacters: no token has a space mark after something else
  std::optional<int32_t> unknown_id_;
  PreTokenizer pre_tokenizer_;
  BpeMerges merges_;
  std::array<int32_t, 256> id_of_byte_;  // -1: none
  absl::flat_hash_map<std::string, int32_t>
      id_of_text_;  // of words (bytes with ignore_merges) or characters
};

}  // namespace bitdial::server
