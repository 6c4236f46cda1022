#include "quant/container/utf8.h"

#include <cstddef>
#include <cstdint>

namespace bitdial::quant {

bool IsUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<uint8_t>(text[i++]);
    if (lead < 0x80) continue;
    int num_tails = 0;
    uint32_t code_point = 0;
    uint32_t smallest = 0;  // below it the form is overlong
    if (lead >> 5 == 0x6) {
      num_tails = 1, code_point = lead & 0x1f, smallest = 0x80;
    } else if (lead >> 4 == 0xe) {
      num_tails = 2, code_point = lead & 0x0f, smallest = 0x800;
    } else if (lead >> 3 == 0x1e) {
      num_tails = 3, code_point = lead & 0x07, smallest = 0x10000;
    } else {
      return false;
    }
    for (; num_tails > 0; --num_tails, ++i) {
      if (i >= text.size() || (static_cast<uint8_t>(text[i]) & 0xc0) != 0x80) return false;
      code_point = code_point << 6 | (static_cast<uint8_t>(text[i]) & 0x3f);
    }
    const bool is_surrogate = code_point >= 0xd800 && code_point <= 0xdfff;
    if (code_point < smallest || code_point > 0x10ffff || is_surrogate) return false;
  }
  return true;
}

}  // namespace bitdial::quant
