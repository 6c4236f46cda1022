// Which build this is.
#pragma once

#include <string>

namespace bitdial::server {

// "0.1.0"
const char* Version();
// The commit the tree was at: twelve digits, with "-dirty" when it had other changes; "unknown"
// outside a git repository (a source tarball).
const char* Commit();
// Several lines: version, commit, compiler, build type, backends built and the one this machine
// picks (or why BITDIAL_FORCE_BACKEND cannot be).
std::string VersionText();
// The same as a JSON object on one line; "backend" is null, with "backend_error", where there is
// none.
std::string VersionJson();

}  // namespace bitdial::server
