#include "server/tokenizer/sentencepiece_model.h"

#include <fmt/format.h>
#include <sentencepiece_model.pb.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <unordered_set>

#include "server/tokenizer/charsmap.h"
#include "server/tokenizer/utf8.h"

namespace bitdial::server {
namespace {

constexpr size_t kMaxModelBytes = 64u << 20;
constexpr int kMaxPieces = 4 << 20;
// Bounds the recursion with which the library splits UNUSED pieces again.
constexpr size_t kMaxPieceBytes = 1024;

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581
constexpr size_t kChunkBytes = 4096;
// The library joins a run of unknown characters one by one, copying all before each: without a
// limit a megabyte of them takes hours. The whole run would be one <unk> anyway.
constexpr size_t kMaxUnknownRun = 1024;

// True when a space or its mark follows something else in `piece`.
bool HasSpaceInside(std::string_view piece) {
  while (piece.starts_with(kSpaceMark)) piece.remove_prefix(kSpaceMark.size());
  return piece.find(kSpaceMark) != std::string_view::npos ||
         piece.find(' ') != std::string_view::npos;
}

// The first space from kChunkBytes on that follows what is no space and that something follows;
// else text.size().
size_t FindCut(std::string_view text) {
  for (size_t i = kChunkBytes; i + 1 < text.size(); ++i) {
    const std::string_view before = text.substr(0, i);
    if (text[i] == ' ' && !before.ends_with(' ') && !before.ends_with(kSpaceMark)) return i;
  }
  return text.size();
}

std::string FindPieceError(const sentencepiece::ModelProto& proto) {
  if (proto.pieces_size() < 1 || proto.pieces_size() > kMaxPieces) {
    return fmt::format("{} pieces; expected 1 to {}", proto.pieces_size(), kMaxPieces);
  }
  std::unordered_set<std::string_view> seen;
  for (int i = 0; i < proto.pieces_size(); ++i) {
    const auto& piece = proto.pieces(i);
    const std::string& text = piece.piece();
    if (text.empty() || text.size() > kMaxPieceBytes) {
      return fmt::format("piece {} has {} bytes; expected 1 to {}", i, text.size(), kMaxPieceBytes);
    }
    if (text.find('\0') != std::string::npos || FindInvalidUtf8(text)) {
      return fmt::format("piece {} is not UTF-8 or holds a NUL", i);
    }
    if (!std::isfinite(piece.score())) return fmt::format("piece {} has no finite score", i);
    if (!seen.insert(text).second) return fmt::format("piece {} (\"{}\") is there twice", i, text);
    // The library would take the character in a text for the control piece, and then fail.
    const bool is_control = piece.type() == sentencepiece::ModelProto::SentencePiece::CONTROL;
    if (is_control && NextUtf8(text).length == text.size()) {
      return fmt::format("piece {} (\"{}\") is a control piece of one character", i, text);
    }
  }
  return "";
}

std::string FindError(const sentencepiece::ModelProto& proto) {
  if (std::string error = FindPieceError(proto); !error.empty()) return error;
  const auto type = proto.trainer_spec().model_type();
  if (type != sentencepiece::TrainerSpec::UNIGRAM && type != sentencepiece::TrainerSpec::BPE) {
    return fmt::format("model type {}; we have unigram (1) and BPE (2)", static_cast<int>(type));
  }
  const auto& normalizer = proto.normalizer_spec();
  if (std::string error = FindCharsmapError(normalizer.precompiled_charsmap()); !error.empty()) {
    return "precompiled_charsmap: " + error;
  }
  if (!proto.denormalizer_spec().precompiled_charsmap().empty()) {
    return "it has a denormalizer, which we do not support";
  }
  return "";
}

}  // namespace

struct SentencePieceModel::Impl {
  std::unique_ptr<sentencepiece::ModelProto> proto = std::make_unique<sentencepiece::ModelProto>();
  sentencepiece::SentencePieceProcessor processor;
};

SentencePieceModel::SentencePieceModel() : impl_(std::make_unique<Impl>()) {}
SentencePieceModel::~SentencePieceModel() = default;

std::unique_ptr<SentencePieceModel> SentencePieceModel::Parse(std::string_view bytes,
                                                              std::string* error) {
  std::unique_ptr<SentencePieceModel> model(new SentencePieceModel);
  if (bytes.size() > kMaxModelBytes) {
    *error = fmt::format("{} bytes; at most {}", bytes.size(), kMaxModelBytes);
  } else if (!model->impl_->proto->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    *error = "no SentencePiece model: the protobuf does not parse (truncated?)";
  } else {
    *error = model->Load();
  }
  if (!error->empty()) return nullptr;
  return model;
}

std::unique_ptr<SentencePieceModel> SentencePieceModel::FromPieces(const std::vector<Piece>& pieces,
                                                                   const Options& options,
                                                                   std::string* error) {
  std::unique_ptr<SentencePieceModel> model(new SentencePieceModel);
  sentencepiece::ModelProto& proto = *model->impl_->proto;
  bool has_bytes = false;
  for (const Piece& piece : pieces) {
    auto* added = proto.add_pieces();
    added->set_piece(piece.text);
    added->set_score(piece.score);
    added->set_type(static_cast<sentencepiece::ModelProto::SentencePiece::Type>(piece.type));
    has_bytes |= piece.type == Type::kByte;
  }
  proto.mutable_trainer_spec()->set_model_type(sentencepiece::TrainerSpec::BPE);
  proto.mutable_trainer_spec()->set_byte_fallback(has_bytes);
  proto.mutable_trainer_spec()->set_bos_id(-1);
  proto.mutable_trainer_spec()->set_eos_id(-1);
  proto.mutable_normalizer_spec()->set_add_dummy_prefix(options.add_dummy_prefix);
  proto.mutable_normalizer_spec()->set_remove_extra_whitespaces(options.remove_extra_whitespaces);
  *error = model->Load();
  if (!error->empty()) return nullptr;
  return model;
}

// Checks impl_->proto, keeps what we need of it and hands it to the library.
std::string SentencePieceModel::Load() {
  sentencepiece::ModelProto& proto = *impl_->proto;
  if (std::string error = FindError(proto); !error.empty()) return error;
  proto.clear_self_test_data();
  pieces_.reserve(static_cast<size_t>(proto.pieces_size()));
  for (const auto& piece : proto.pieces()) {
    pieces_.push_back({piece.piece(), piece.score(), static_cast<Type>(piece.type())});
  }
  options_ = {proto.normalizer_spec().add_dummy_prefix(),
              proto.normalizer_spec().remove_extra_whitespaces()};
  for (const Piece& piece : pieces_) {
    const bool is_text = piece.type == Type::kNormal || piece.type == Type::kUserDefined;
    if (is_text && NextUtf8(piece.text).length == piece.text.size()) {
      known_characters_.insert(NextUtf8(piece.text).code_point);
    }
  }
  has_byte_fallback_ = proto.trainer_spec().byte_fallback();
  unknown_surface_ = proto.trainer_spec().unk_surface();
  if (FindInvalidUtf8(unknown_surface_)) return "unk_surface is not UTF-8";
  // The trainer's ids can disagree with the pieces (they are only its flags): the library asks by
  // name.
  const auto control = [&](const std::string& name, int flag) {
    for (size_t i = 0; flag >= 0 && i < pieces_.size(); ++i) {
      if (pieces_[i].text == name && pieces_[i].type == Type::kControl)
        return static_cast<int32_t>(i);
    }
    return -1;
  };
  bos_id_ = control(proto.trainer_spec().bos_piece(), proto.trainer_spec().bos_id());
  eos_id_ = control(proto.trainer_spec().eos_piece(), proto.trainer_spec().eos_id());
  can_cut_at_spaces_ = CanCutAtSpaces();
  try {
    const auto status = impl_->processor.Load(std::move(impl_->proto));
    return status.ok() ? "" : std::string(status.message());
  } catch (const std::exception& e) {  // darts-clone throws
    return e.what();
  }
}

// The library merges a whole text as one word, which takes seconds for a megabyte. Text may be cut
// before a space when no piece crosses such a place and every chunk then gets back the one space
// that was cut away as its dummy prefix.
bool SentencePieceModel::CanCutAtSpaces() const {
  const sentencepiece::ModelProto& proto = *impl_->proto;
  const bool only_marks_spaces = options_.add_dummy_prefix && !options_.remove_extra_whitespaces &&
                                 proto.normalizer_spec().escape_whitespaces() &&
                                 proto.normalizer_spec().precompiled_charsmap().empty() &&
                                 !proto.trainer_spec().treat_whitespace_as_suffix();
  // Unigram adds up scores over the text, where rounding could make another best path of a chunk.
  if (!only_marks_spaces || proto.trainer_spec().model_type() != sentencepiece::TrainerSpec::BPE)
    return false;
  bool has_mark = false;
  for (const Piece& piece : pieces_) {
    has_mark |= piece.text == kSpaceMark && piece.type == Type::kNormal;
    if (HasSpaceInside(piece.text)) return false;
  }
  return has_mark;
}

std::string SentencePieceModel::FindUnknownRun(std::string_view text) const {
  if (has_byte_fallback_) return "";  // no character is unknown
  std::string normalized;
  if (const auto status = impl_->processor.Normalize(text, &normalized); !status.ok()) {
    return status.message();
  }
  size_t run = 0;
  for (std::string_view rest = normalized; !rest.empty();) {
    const Utf8Step step = NextUtf8(rest);
    run = known_characters_.contains(step.code_point) ? 0 : run + 1;
    if (run > kMaxUnknownRun) {
      return fmt::format(
          "more than {} characters in a row, to byte {} of the normalized text, are "
          "not in the model's vocabulary; leave them out",
          kMaxUnknownRun, rest.data() - normalized.data());
    }
    rest.remove_prefix(step.length);
  }
  return "";
}

std::string SentencePieceModel::Encode(std::string_view text, std::vector<int32_t>* ids) const {
  if (std::string error = FindUnknownRun(text); !error.empty()) return error;
  std::vector<int> encoded;
  while (!text.empty()) {
    const size_t cut = can_cut_at_spaces_ ? FindCut(text) : text.size();
    const auto status = impl_->processor.Encode(text.substr(0, cut), &encoded);
    if (!status.ok()) return status.message();
    ids->insert(ids->end(), encoded.begin(), encoded.end());
    text.remove_prefix(std::min(cut + 1, text.size()));
  }
  return "";
}

std::string SentencePieceModel::Decode(const std::vector<int32_t>& ids) const {
  return impl_->processor.DecodeIds(ids);
}

}  // namespace bitdial::server
