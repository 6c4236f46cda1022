// For fuzz targets: bytes in, and every byte that a reader hands out is really there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace bitdial::testing {

inline std::span<const std::byte> AsBytes(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const std::byte*>(data), size};
}
inline std::string_view AsText(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Two inputs in one, parted by the first NUL, which no text file holds.
struct TwoTexts {
  std::string_view first, second;
  bool has_second;  // a NUL was there
};
inline TwoTexts SplitAtNul(std::string_view text) {
  const size_t nul = text.find('\0');
  if (nul == std::string_view::npos) return {text, {}, false};
  return {text.substr(0, nul), text.substr(nul + 1), true};
}

// Reads every byte, so that the address sanitizer sees a view that leaves its file.
inline void Touch(std::span<const std::byte> bytes) {
  unsigned sum = 0;
  for (const std::byte byte : bytes) sum += static_cast<unsigned>(byte);
  asm volatile("" : : "r"(sum));  // the loop has to stay
}
inline void Touch(std::string_view text) {
  Touch(std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace bitdial::testing
