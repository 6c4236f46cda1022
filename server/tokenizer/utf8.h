// UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace bitdial::server {

struct Utf8Step {
  enum Kind {
    kCharacter,   // a whole character of `length` bytes
    kInvalid,     // no character begins so; `length` bytes are its maximal subpart (Unicode 3.9)
    kIncomplete,  // the text ends inside what may become a character
  };
  Kind kind;
  size_t length;
  char32_t code_point = 0;  // of a kCharacter
};

// What `text` (not empty) begins with.
Utf8Step NextUtf8(std::string_view text);

// Byte offset of the first byte that is no part of a whole character; nullopt when all is well.
std::optional<size_t> FindInvalidUtf8(std::string_view text);

// The Unicode property White_Space.
bool IsWhiteSpace(char32_t code_point);

void AppendUtf8(char32_t code_point, std::string* text);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace bitdial::server
