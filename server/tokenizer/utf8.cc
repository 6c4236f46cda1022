#include "server/tokenizer/utf8.h"

#include <cstdint>

namespace bitdial::server {
namespace {

// The bytes a lead byte asks for, and the range of the second one (Unicode 15, table 3-7).
struct Lead {
  size_t length;  // 0: no character begins so
  uint8_t second_min, second_max;
};

Lead LeadOf(uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Step NextUtf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  if (byte(0) < 0x80) return {Utf8Step::kCharacter, 1, byte(0)};
  const Lead lead = LeadOf(byte(0));
  if (lead.length == 0) return {Utf8Step::kInvalid, 1};
  char32_t code_point = byte(0) & (0xFFu >> (lead.length + 1));
  for (size_t i = 1; i < lead.length; ++i) {
    if (i == text.size()) return {Utf8Step::kIncomplete, i};
    const uint8_t min = i == 1 ? lead.second_min : 0x80;
    const uint8_t max = i == 1 ? lead.second_max : 0xBF;
    if (byte(i) < min || byte(i) > max) return {Utf8Step::kInvalid, i};
    code_point = (code_point << 6) | (byte(i) & 0x3Fu);
  }
  return {Utf8Step::kCharacter, lead.length, code_point};
}

std::optional<size_t> FindInvalidUtf8(std::string_view text) {
  for (size_t ofs = 0; ofs < text.size();) {
    const Utf8Step step = NextUtf8(text.substr(ofs));
    if (step.kind != Utf8Step::kCharacter) return ofs;
    ofs += step.length;
  }
  return std::nullopt;
}

bool IsWhiteSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

void AppendUtf8(char32_t c, std::string* text) {
  const auto add = [&](char32_t byte) { text->push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    add(c);
  } else if (c < 0x800) {
    add(0xC0 | (c >> 6));
    add(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    add(0xE0 | (c >> 12));
    add(0x80 | ((c >> 6) & 0x3F));
    add(0x80 | (c & 0x3F));
  } else {
    add(0xF0 | (c >> 18));
    add(0x80 | ((c >> 12) & 0x3F));
    add(0x80 | ((c >> 6) & 0x3F));
    add(0x80 | (c & 0x3F));
  }
}

}  // namespace bitdial::server
