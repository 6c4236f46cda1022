// Tokenizers from the tokenizer.ggml.* metadata of a GGUF file.
// Source: the GGUF specification of ggml (docs/gguf.md), and the pre-tokenizer names of llama.cpp's
// converter.
#include <algorithm>

#include "server/tokenizer/bpe_tokenizer.h"
#include "server/tokenizer/sentencepiece_tokenizer.h"
#include "server/tokenizer/tokenizer_files.h"
#include "server/tokenizer/utf8.h"

namespace bitdial::server {
namespace {

using quant::GgufFile;
using Type = SentencePieceModel::Type;

constexpr size_t kMaxTokens = 4 << 20;  // before they are copied; each model has its own limit

// What tokenizer.ggml.pre stands for.
struct GgufPre {
  std::string_view name;
  std::vector<std::string> patterns;
  bool ignore_merges;
  bool adds_bos;  // unless add_bos_token says otherwise
};

const GgufPre* FindPre(std::string_view name) {
  static const auto* const kPres = new std::vector<GgufPre>{
      {"gpt-2", {"gpt2"}, false, false},
      {"llama-bpe", {"llama3"}, true, true},
      {"llama3", {"llama3"}, true, true},
      {"llama-v3", {"llama3"}, true, true},
      {"smollm", {"digits", "gpt2"}, false, false},
      {"qwen2", {"qwen2"}, false, false},
  };
  for (const GgufPre& pre : *kPres) {
    if (pre.name == name) return &pre;
  }
  return nullptr;
}

struct GgufTokens {
  std::vector<std::string_view> texts;
  std::vector<int64_t> types;
};

absl::StatusOr<GgufTokens> ReadTokens(const GgufFile& file) {
  GgufTokens tokens;
  BITDIAL_ASSIGN_OR_RETURN(tokens.texts, file.GetStrings("tokenizer.ggml.tokens"));
  if (tokens.texts.empty() || tokens.texts.size() > kMaxTokens) {
    return DataLoss("{}: tokenizer.ggml.tokens has {} tokens; expected 1 to {}", file.path(),
                    tokens.texts.size(), kMaxTokens);
  }
  tokens.types.assign(tokens.texts.size(), static_cast<int64_t>(Type::kNormal));
  if (file.Has("tokenizer.ggml.token_type")) {
    BITDIAL_ASSIGN_OR_RETURN(tokens.types, file.GetInts("tokenizer.ggml.token_type"));
  }
  if (tokens.types.size() != tokens.texts.size()) {
    return DataLoss("{}: {} tokens and {} token types", file.path(), tokens.texts.size(),
                    tokens.types.size());
  }
  for (size_t i = 0; i < tokens.types.size(); ++i) {
    if (tokens.types[i] < 1 || tokens.types[i] > 6) {
      return DataLoss("{}: token {} has type {}; expected 1 to 6", file.path(), i, tokens.types[i]);
    }
  }
  return tokens;
}

absl::StatusOr<std::optional<int32_t>> ReadId(const GgufFile& file, const std::string& name,
                                              size_t num_tokens) {
  const std::string key = "tokenizer.ggml." + name + "_token_id";
  if (!file.Has(key)) return std::optional<int32_t>();
  BITDIAL_ASSIGN_OR_RETURN(const int64_t id,
                           file.GetInt(key, 0, static_cast<int64_t>(num_tokens) - 1));
  return std::optional<int32_t>(static_cast<int32_t>(id));
}

absl::StatusOr<TokenizerFrame> ReadFrame(const GgufFile& file, size_t num_tokens, bool adds_bos) {
  TokenizerFrame frame;
  BITDIAL_ASSIGN_OR_RETURN(frame.bos, ReadId(file, "bos", num_tokens));
  for (const char* name : {"eos", "eot", "eom"}) {
    BITDIAL_ASSIGN_OR_RETURN(const std::optional<int32_t> id, ReadId(file, name, num_tokens));
    if (id && std::find(frame.eos.begin(), frame.eos.end(), *id) == frame.eos.end())
      frame.eos.push_back(*id);
  }
  BITDIAL_ASSIGN_OR_RETURN(adds_bos, file.GetBoolOr("tokenizer.ggml.add_bos_token", adds_bos));
  BITDIAL_ASSIGN_OR_RETURN(const bool adds_eos,
                           file.GetBoolOr("tokenizer.ggml.add_eos_token", false));
  if (adds_bos && frame.bos) frame.prefix = {*frame.bos};
  if (adds_eos && !frame.eos.empty()) frame.suffix = {frame.eos.front()};
  BITDIAL_ASSIGN_OR_RETURN(const std::string_view chat_template,
                           file.GetStringOr("tokenizer.chat_template", ""));
  BITDIAL_RETURN_IF_ERROR(CheckTemplateSize(chat_template.size(), file.path()));
  if (FindInvalidUtf8(chat_template))
    return DataLoss("{}: tokenizer.chat_template is not UTF-8", file.path());
  frame.chat_template = std::string(chat_template);
  return frame;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeByteLevel(const GgufFile& file) {
  BITDIAL_ASSIGN_OR_RETURN(const std::string_view name, file.GetStringOr("tokenizer.ggml.pre", ""));
  const GgufPre* pre = FindPre(name);
  if (pre == nullptr) {
    return Unimplemented(
        "{}: tokenizer.ggml.pre is \"{}\"; we have gpt-2, llama-bpe, smollm and qwen2", file.path(),
        name);
  }
  BITDIAL_ASSIGN_OR_RETURN(const GgufTokens tokens, ReadTokens(file));
  BpeSpec spec;
  spec.tokens.assign(tokens.texts.begin(), tokens.texts.end());
  for (size_t i = 0; i < tokens.texts.size(); ++i) {
    const Type type = static_cast<Type>(tokens.types[i]);
    if (type == Type::kControl || type == Type::kUserDefined) {
      spec.added.push_back({.id = static_cast<int32_t>(i),
                            .content = spec.tokens[i],
                            .special = type == Type::kControl});
    }
  }
  BITDIAL_ASSIGN_OR_RETURN(const std::vector<std::string_view> merges,
                           file.GetStrings("tokenizer.ggml.merges"));
  for (const std::string_view merge : merges) {
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos)
      return DataLoss("{}: merge \"{}\" is not two tokens", file.path(), merge);
    spec.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  spec.ignore_merges = pre->ignore_merges;
  spec.pre_tokenizer = pre->patterns;
  BITDIAL_ASSIGN_OR_RETURN(spec.space_prefix,
                           file.GetBoolOr("tokenizer.ggml.add_space_prefix", false));
  BITDIAL_ASSIGN_OR_RETURN(spec.frame, ReadFrame(file, tokens.texts.size(), pre->adds_bos));
  return BpeTokenizer::Make(std::move(spec));
}

// SentencePiece looks for user-defined pieces where spaces are marks (U+2581) already; llama.cpp's
// converter writes theirs as spaces.
std::string WithSpaceMarks(std::string_view text) {
  std::string marked;
  for (const char c : text) {
    if (c == ' ') {
      marked += "\xE2\x96\x81";
    } else {
      marked += c;
    }
  }
  return marked;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeSentencePiece(const GgufFile& file) {
  if (file.Has("tokenizer.ggml.precompiled_charsmap")) {
    return Unimplemented("{}: tokenizer.ggml.precompiled_charsmap", file.path());
  }
  BITDIAL_ASSIGN_OR_RETURN(const GgufTokens tokens, ReadTokens(file));
  BITDIAL_ASSIGN_OR_RETURN(const std::vector<float> scores,
                           file.GetFloats("tokenizer.ggml.scores"));
  if (scores.size() != tokens.texts.size()) {
    return DataLoss("{}: {} tokens and {} scores", file.path(), tokens.texts.size(), scores.size());
  }
  // SentencePiece knows exactly one unknown piece. GGUF names it, and calls vocabulary padding
  // "unknown" too.
  BITDIAL_ASSIGN_OR_RETURN(const std::optional<int32_t> unknown,
                           ReadId(file, "unknown", tokens.texts.size()));
  std::vector<SentencePieceModel::Piece> pieces;
  for (size_t i = 0; i < tokens.texts.size(); ++i) {
    Type type = static_cast<Type>(tokens.types[i]);
    if (type == Type::kUnknown) type = Type::kControl;
    if (static_cast<int32_t>(i) == unknown.value_or(0)) type = Type::kUnknown;
    const bool has_spaces = type == Type::kUserDefined;
    pieces.push_back({has_spaces ? WithSpaceMarks(tokens.texts[i]) : std::string(tokens.texts[i]),
                      scores[i], type});
  }
  SentencePieceModel::Options options;
  BITDIAL_ASSIGN_OR_RETURN(options.add_dummy_prefix,
                           file.GetBoolOr("tokenizer.ggml.add_space_prefix", true));
  BITDIAL_ASSIGN_OR_RETURN(options.remove_extra_whitespaces,
                           file.GetBoolOr("tokenizer.ggml.remove_extra_whitespaces", false));
  BITDIAL_ASSIGN_OR_RETURN(TokenizerFrame frame, ReadFrame(file, pieces.size(), /*adds_bos=*/true));
  std::string error;
  auto model = SentencePieceModel::FromPieces(pieces, options, &error);
  if (model == nullptr) return DataLoss("{}: tokenizer.ggml.tokens: {}", file.path(), error);
  return SentencePieceTokenizer::Make(std::move(model), /*added=*/{}, std::move(frame));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromGguf(const GgufFile& file) {
  BITDIAL_ASSIGN_OR_RETURN(const std::string_view model, file.GetString("tokenizer.ggml.model"));
  if (model == "gpt2") return MakeByteLevel(file);
  if (model == "llama") return MakeSentencePiece(file);
  return Unimplemented("{}: tokenizer.ggml.model is \"{}\"; we have gpt2 and llama", file.path(),
                       model);
}

}  // namespace bitdial::server
