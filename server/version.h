// Which build this is.
#pragma once

#include <string>

namespace bitdial::server {

// "0.1.0"
const char* Version();
// Several lines: version, compiler, build type, backends built and the one this machine would use.
std::string VersionText();

}  // namespace bitdial::server
