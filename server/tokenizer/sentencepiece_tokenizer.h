// Llama 1/2 and its kin: a SentencePiece model, from tokenizer.model or from GGUF metadata.
#pragma once

#include <memory>

#include "server/tokenizer/sentencepiece_model.h"
#include "server/tokenizer/tokenizer_base.h"

namespace bitdial::server {

// Text between special tokens is encoded piece by piece on its own, each with the dummy prefix, as
// Hugging Face's Llama 2 tokenizer and Meta's chat code do. Decodes as libsentencepiece does.
class SentencePieceTokenizer final : public TokenizerBase {
 public:
  // `frame`: prefix, suffix, bos, eos, template; its added tokens are joined by the model's control
  // pieces. Errors  DATA_LOSS an added token that contradicts the model.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Make(std::unique_ptr<SentencePieceModel> model,
                                                         std::vector<AddedToken> added,
                                                         TokenizerFrame frame);

  bool HasLeadingSpace(int32_t id) const override;

 protected:
  absl::Status EncodePlain(std::string_view text, std::vector<int32_t>* ids) const override;

 private:
  SentencePieceTokenizer(std::unique_ptr<SentencePieceModel> model, std::vector<std::string> bytes,
                         TokenizerFrame frame)
      : TokenizerBase(std::move(bytes), std::move(frame)), model_(std::move(model)) {}

  std::unique_ptr<SentencePieceModel> model_;
};

}  // namespace bitdial::server
