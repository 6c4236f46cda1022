// libsentencepiece behind a plain interface: its header declares a namespace absl of its own, so
// exactly one source file includes it, and that one includes neither Abseil nor gRPC. Errors are
// strings, "" for none.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace bitdial::server {

// Thread   const after construction: any.
class SentencePieceModel {
 public:
  // The numbers are ModelProto's, which GGUF's tokenizer.ggml.token_type shares.
  enum class Type {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6
  };
  struct Piece {
    std::string text;
    float score;
    Type type;
  };
  struct Options {
    bool add_dummy_prefix = true;
    bool remove_extra_whitespaces = false;
  };

  // From the bytes of a tokenizer.model, which may be hostile. Checked before the library sees it:
  // at most 64 MiB; it parses; unigram or BPE; at most 4 Mi pieces; each 1..1024 bytes of UTF-8
  // without NUL, with a finite score, no two alike, no control piece of one character; one unknown
  // piece; 256 byte pieces when bytes are the fallback; the charsmap (charsmap.h). The model's self
  // test is dropped and a denormalizer refused. Null with *error set when any fails.
  static std::unique_ptr<SentencePieceModel> Parse(std::string_view bytes, std::string* error);

  // A BPE model from pieces (GGUF). Same checks.
  static std::unique_ptr<SentencePieceModel> FromPieces(const std::vector<Piece>& pieces,
                                                        const Options& options, std::string* error);

  ~SentencePieceModel();

  // Appends the ids of `text` (UTF-8); no BOS, control pieces are never matched. Returns the error:
  // without byte fallback, more than 1024 characters in a row none of which is a piece by itself.
  std::string Encode(std::string_view text, std::vector<int32_t>* ids) const;
  // The library's own decoder: the oracle our Detokenizer is tested against.
  std::string Decode(const std::vector<int32_t>& ids) const;

  const std::vector<Piece>& pieces() const { return pieces_; }
  const Options& options() const { return options_; }
  const std::string& unknown_surface() const { return unknown_surface_; }
  int32_t bos_id() const { return bos_id_; }  // -1: none
  int32_t eos_id() const { return eos_id_; }

 private:
  struct Impl;
  SentencePieceModel();
  std::string Load();
  bool CanCutAtSpaces() const;
  std::string FindUnknownRun(std::string_view text) const;

  std::unique_ptr<Impl> impl_;
  std::vector<Piece> pieces_;
  Options options_;
  std::unordered_set<char32_t> known_characters_;  // that are a piece by themselves
  bool has_byte_fallback_ = false;
  std::string unknown_surface_;
  int32_t bos_id_ = -1, eos_id_ = -1;
  bool can_cut_at_spaces_ = false;
};

}  // namespace bitdial::server
