// Is a SentencePiece model's precompiled_charsmap safe to walk?
//
// The library walks the map's double array with the user's text and trusts every unit in it: a
// hostile model makes it read outside the array, or collect more matches than its buffer of 32
// holds (CVE-2026-1260 is of this family; 0.2.1 checks the sizes of the two parts and that the
// second ends with a NUL, not the array). So the whole array is walked here first.
#pragma once

#include <string>
#include <string_view>

namespace bitdial::server {

// `blob` is <u32 trie bytes><double array><NUL-separated replacements>; empty is fine (no map).
// Returns "" when safe, else what is wrong: a part larger than the blob; a state outside the array;
// a value outside the replacements; a cycle; more than 32 matches on one path; a replacement over
// 256 bytes; replacements that do not end with NUL or are not UTF-8.
std::string FindCharsmapError(std::string_view blob);

}  // namespace bitdial::server
