// JSON for stdout.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace bitdial::server {

// dump() throws on a string that is not UTF-8, and a path or a name from a damaged file may be none: such bytes are
// replaced by U+FFFD. indent -1: one line.
inline std::string JsonText(const nlohmann::ordered_json& json, int indent = -1) {
  return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace bitdial::server
