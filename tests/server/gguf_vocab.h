// A SentencePiece model's pieces as the tokenizer.ggml.* metadata that llama.cpp's converter
// writes.
#pragma once

#include <string>
#include <vector>

#include "server/tokenizer/sentencepiece_model.h"
#include "tests/testing/gguf_builder.h"

namespace bitdial::server {

// Adds the model, tokens, scores and types; ids of BOS and the like are the caller's.
inline void AddPieces(const std::vector<SentencePieceModel::Piece>& pieces,
                      testing::GgufBuilder* builder) {
  using testing::GgufBuilder;
  constexpr uint32_t kI32 = 5, kF32 = 6, kString = 8;
  std::string texts, scores, types;
  for (const SentencePieceModel::Piece& piece : pieces) {
    texts += GgufBuilder::String(piece.text);
    scores += GgufBuilder::Bytes(piece.score);
    types += GgufBuilder::Bytes(static_cast<int32_t>(piece.type));
  }
  builder->AddString("tokenizer.ggml.model", "llama")
      .AddArray("tokenizer.ggml.tokens", kString, pieces.size(), texts)
      .AddArray("tokenizer.ggml.scores", kF32, pieces.size(), scores)
      .AddArray("tokenizer.ggml.token_type", kI32, pieces.size(), types);
}

}  // namespace bitdial::server
