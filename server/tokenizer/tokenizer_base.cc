#include "server/tokenizer/tokenizer_base.h"

#include "kernels/core/check.h"
#include "server/tokenizer/utf8.h"

namespace bitdial::server {

TokenizerBase::TokenizerBase(std::vector<std::string> bytes, TokenizerFrame frame)
    : bytes_(std::move(bytes)), frame_(std::move(frame)) {
  for (const AddedToken& token : frame_.added.tokens()) BITDIAL_CHECK(IsInVocabulary(token.id));
  for (const int32_t id : frame_.prefix) BITDIAL_CHECK(IsInVocabulary(id));
  for (const int32_t id : frame_.suffix) BITDIAL_CHECK(IsInVocabulary(id));
}

absl::StatusOr<std::vector<int32_t>> TokenizerBase::Encode(std::string_view text,
                                                           const EncodeOptions& options) const {
  if (const auto ofs = FindInvalidUtf8(text)) {
    return InvalidArgument("text is not UTF-8: byte {} of {} (0x{:02x}) is no part of a character",
                           *ofs, text.size(), static_cast<unsigned char>(text[*ofs]));
  }
  std::vector<int32_t> ids;
  if (options.add_special_tokens) ids = frame_.prefix;
  for (const Segment& segment : frame_.added.Split(text, options.parse_special_tokens)) {
    if (segment.id >= 0) {
      ids.push_back(segment.id);
    } else {
      BITDIAL_RETURN_IF_ERROR(EncodePlain(segment.text, &ids));
    }
  }
  if (options.add_special_tokens) ids.insert(ids.end(), frame_.suffix.begin(), frame_.suffix.end());
  return ids;
}

std::string TokenizerBase::TokenBytes(int32_t id, bool show_special) const {
  if (!IsInVocabulary(id) || (!show_special && IsSpecial(id))) return "";
  return bytes_[static_cast<size_t>(id)];
}

bool TokenizerBase::HasLeadingSpace(int32_t id) const {
  return IsInVocabulary(id) && !IsSpecial(id) && bytes_[static_cast<size_t>(id)].starts_with(' ');
}

bool TokenizerBase::IsSpecial(int32_t id) const {
  const AddedToken* token = frame_.added.Find(id);
  return token != nullptr && token->special;
}

}  // namespace bitdial::server
