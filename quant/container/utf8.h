// Names from files end up in messages and in JSON, so they must be UTF-8.
#pragma once

#include <string_view>

namespace bitdial::quant {

// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
bool IsUtf8(std::string_view text);

}  // namespace bitdial::quant
