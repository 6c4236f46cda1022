#include "server/tokenizer/byte_alphabet.h"

#include <array>

#include "server/tokenizer/utf8.h"

namespace bitdial::server {
namespace {

constexpr char32_t kFirstMoved = 256;  // bytes that are not printable are moved here, in order
constexpr char32_t kNumMoved = 68;

constexpr bool IsPrintable(char32_t c) {
  return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || (c >= 0xAE && c <= 0xFF);
}

constexpr std::array<uint8_t, kNumMoved> MovedBytes() {
  std::array<uint8_t, kNumMoved> moved{};
  size_t count = 0;
  for (char32_t byte = 0; byte < 256; ++byte) {
    if (!IsPrintable(byte)) moved[count++] = static_cast<uint8_t>(byte);
  }
  return moved;
}
constexpr std::array<uint8_t, kNumMoved> kMovedBytes = MovedBytes();

}  // namespace

std::string ByteCharacter(uint8_t byte) {
  char32_t code_point = byte;
  for (char32_t i = 0; i < kNumMoved; ++i) {
    if (kMovedBytes[i] == byte) code_point = kFirstMoved + i;
  }
  std::string text;
  AppendUtf8(code_point, &text);
  return text;
}

std::optional<std::string> BytesOfToken(std::string_view token) {
  std::string bytes;
  while (!token.empty()) {
    const Utf8Step step = NextUtf8(token);
    const char32_t c = step.code_point;
    if (step.kind == Utf8Step::kCharacter && IsPrintable(c)) {
      bytes.push_back(static_cast<char>(c));
    } else if (step.kind == Utf8Step::kCharacter && c >= kFirstMoved &&
               c < kFirstMoved + kNumMoved) {
      bytes.push_back(static_cast<char>(kMovedBytes[c - kFirstMoved]));
    } else {
      return std::nullopt;
    }
    token.remove_prefix(step.length);
  }
  return bytes;
}

}  // namespace bitdial::server
