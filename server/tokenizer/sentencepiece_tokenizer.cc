#include "server/tokenizer/sentencepiece_tokenizer.h"

#include <cstdlib>
#include <set>

namespace bitdial::server {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581
constexpr int32_t kMaxIds = 1 << 21;

std::string WithSpaces(std::string_view piece) {
  std::string text;
  for (size_t ofs = 0; ofs < piece.size();) {
    if (piece.substr(ofs).starts_with(kSpaceMark)) {
      text += ' ';
      ofs += kSpaceMark.size();
    } else {
      text += piece[ofs++];
    }
  }
  return text;
}

std::string BytesOf(const SentencePieceModel::Piece& piece, const std::string& unknown_surface) {
  switch (piece.type) {
    case SentencePieceModel::Type::kByte:  // "<0x0A>", checked by the library
      return std::string(1, static_cast<char>(std::strtol(piece.text.c_str() + 1, nullptr, 16)));
    case SentencePieceModel::Type::kControl:
      return piece.text;
    case SentencePieceModel::Type::kUnknown:
      return unknown_surface;
    default:
      return WithSpaces(piece.text);
  }
}

// Tokens of tokenizer_config.json that the model already has say nothing new, unless they disagree.
absl::Status AddToken(const AddedToken& token, const SentencePieceModel& model,
                      std::set<int32_t>* known, std::vector<std::string>* bytes,
                      std::vector<AddedToken>* all) {
  if (token.id < 0 || token.id >= kMaxIds) {
    return DataLoss("added token \"{}\" has id {}; expected 0 to {}", token.content, token.id,
                    kMaxIds - 1);
  }
  const size_t id = static_cast<size_t>(token.id);
  if (id < model.pieces().size()) {
    if (model.pieces()[id].text != token.content) {
      return DataLoss("added token {} is \"{}\", but the model's piece {} is \"{}\"", id,
                      token.content, id, model.pieces()[id].text);
    }
    // The model's own <unk> is not looked for in text, and is shown as its surface.
    if (model.pieces()[id].type == SentencePieceModel::Type::kUnknown) return absl::OkStatus();
  } else {
    if (bytes->size() <= id) bytes->resize(id + 1);
    (*bytes)[id] = token.content;
  }
  if (known->insert(token.id).second) all->push_back(token);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> SentencePieceTokenizer::Make(
    std::unique_ptr<SentencePieceModel> model, std::vector<AddedToken> added,
    TokenizerFrame frame) {
  std::vector<std::string> bytes;
  std::vector<AddedToken> all;
  std::set<int32_t> known;
  for (const SentencePieceModel::Piece& piece : model->pieces()) {
    const int32_t id = static_cast<int32_t>(bytes.size());
    bytes.push_back(BytesOf(piece, model->unknown_surface()));
    if (piece.type == SentencePieceModel::Type::kControl) {
      all.push_back({.id = id, .content = piece.text});
      known.insert(id);
    }
  }
  for (const AddedToken& token : added) {
    BITDIAL_RETURN_IF_ERROR(AddToken(token, *model, &known, &bytes, &all));
  }
  BITDIAL_ASSIGN_OR_RETURN(frame.added, AddedTokens::Make(std::move(all)));
  using LeadingSpace = DecodeRules::LeadingSpace;
  frame.decode_rules = {
      .leading_space = model->options().remove_extra_whitespaces ? LeadingSpace::kStripAll
                       : model->options().add_dummy_prefix       ? LeadingSpace::kStripOne
                                                                 : LeadingSpace::kKeep,
      .replace_each_byte = true,
      .special_ends_character = true};
  frame.kind = "sentencepiece";
  return std::unique_ptr<Tokenizer>(
      new SentencePieceTokenizer(std::move(model), std::move(bytes), std::move(frame)));
}

bool SentencePieceTokenizer::HasLeadingSpace(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= model_->pieces().size() || IsSpecial(id)) return false;
  const SentencePieceModel::Piece& piece = model_->pieces()[static_cast<size_t>(id)];
  return piece.type != SentencePieceModel::Type::kUnknown && piece.text.starts_with(kSpaceMark);
}

absl::Status SentencePieceTokenizer::EncodePlain(std::string_view text,
                                                 std::vector<int32_t>* ids) const {
  if (const std::string error = model_->Encode(text, ids); !error.empty()) {
    return InvalidArgument("a text of {} bytes cannot be encoded: {}", text.size(), error);
  }
  return absl::OkStatus();
}

}  // namespace bitdial::server
