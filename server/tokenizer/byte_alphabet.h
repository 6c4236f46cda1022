// GPT-2's printable stand-in for every byte: vocabularies and merges of byte-level BPE are written
// in it. Source: openai/gpt-2, src/encoder.py, bytes_to_unicode.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace bitdial::server {

// The character that stands for `byte`, in UTF-8.
std::string ByteCharacter(uint8_t byte);

// The bytes that `token` stands for; nullopt when a character of it is in no byte's place.
std::optional<std::string> BytesOfToken(std::string_view token);

}  // namespace bitdial::server
