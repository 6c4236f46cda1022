// One spelling for Jinja templates that mean the same, so that a known one can be recognised by
// comparing strings.
#pragma once

#include <string>
#include <string_view>

namespace bitdial::server {

// Applied as transformers applies them (trim_blocks, lstrip_blocks): text outside tags keeps its
// bytes but for what those options and "-" trim; comments go; inside tags white space between
// tokens goes, string literals are written
// '...' with the fewest escapes, and .name becomes ['name'].
std::string CanonicalJinja(std::string_view source);

}  // namespace bitdial::server
