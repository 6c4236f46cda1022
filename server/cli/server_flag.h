// --server of `bitdial bench serve`, as `bitdial client` reads it.
#pragma once

#include <string>

#include "kernels/core/status.h"

namespace bitdial::server {

// server: what the flag says or its default. Where the flag was not given, BITDIAL_SERVER is taken
// if it is set. Errors  INVALID_ARGUMENT: no ADDR:PORT; the environment's fault (kExitBadConfig)
// where it came from there.
absl::Status ChooseServer(bool has_flag, std::string& server);

}  // namespace bitdial::server
