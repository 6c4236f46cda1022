// tokenizer.model.
#include "server/tokenizer/sentencepiece_tokenizer.h"
#include "server/tokenizer/tokenizer_files.h"

namespace bitdial::server {
namespace {

// The id of a token the config names; else the model's own.
std::optional<int32_t> FindId(const std::string& token, const SentencePieceModel& model,
                              const std::vector<AddedToken>& added, int32_t own) {
  for (size_t i = 0; !token.empty() && i < model.pieces().size(); ++i) {
    if (model.pieces()[i].text == token) return static_cast<int32_t>(i);
  }
  for (const AddedToken& candidate : added) {
    if (candidate.content == token) return candidate.id;
  }
  return own >= 0 ? std::optional<int32_t>(own) : std::nullopt;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromSentencePiece(std::string_view bytes,
                                                                      const TokenizerConfig& config,
                                                                      const std::string& what) {
  std::string error;
  std::unique_ptr<SentencePieceModel> model = SentencePieceModel::Parse(bytes, &error);
  if (model == nullptr) return DataLoss("{}: {}", what, error);
  TokenizerFrame frame;
  frame.bos = FindId(config.bos_token, *model, config.added, model->bos_id());
  if (const auto eos = FindId(config.eos_token, *model, config.added, model->eos_id()))
    frame.eos = {*eos};
  if (config.add_bos.value_or(true) && frame.bos) frame.prefix = {*frame.bos};
  if (config.add_eos.value_or(false) && !frame.eos.empty()) frame.suffix = {frame.eos.front()};
  frame.chat_template = config.chat_template;
  auto tokenizer = SentencePieceTokenizer::Make(std::move(model), config.added, std::move(frame));
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), what);
  return tokenizer;
}

}  // namespace bitdial::server
