// The forms a tokenizer comes in, one reader each. Tokenizer::Load chooses.
// Errors of all: DATA_LOSS malformed (file, what, got, expected); UNIMPLEMENTED a component we do
// not have (its name).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "quant/container/gguf_file.h"
#include "quant/container/json_reader.h"
#include "server/tokenizer/tokenizer.h"
#include "server/tokenizer/tokenizer_config.h"

namespace bitdial::server {

// tokenizer.json of Hugging Face's tokenizers library: model BPE.
absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromJson(const Json& json,
                                                             const TokenizerConfig& config,
                                                             const std::string& what);

// vocab.json and merges.txt: GPT-2 and OPT before tokenizer.json. A vocabulary that begins as
// fairseq's do is OPT's: where config is silent, a text begins with </s>. folder: where both lie,
// for messages. Errors  DATA_LOSS also merges that make too few of the vocabulary's tokens
// (merges_text.h).
absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromVocabAndMerges(
    const Json& vocab, std::string_view merges, const TokenizerConfig& config,
    const std::string& folder);

// tokenizer.model of SentencePiece.
absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromSentencePiece(std::string_view bytes,
                                                                      const TokenizerConfig& config,
                                                                      const std::string& what);

// The tokenizer.ggml.* metadata: model "gpt2" (byte-level BPE) or "llama" (SentencePiece).
absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromGguf(const quant::GgufFile& file);

}  // namespace bitdial::server
