// A small file read whole, for files that are replaced while the server runs: keys, certificates.
#pragma once

#include <string>

#include "kernels/core/status.h"

namespace bitdial::server {

// Read, not mapped: a file that somebody cuts short meanwhile is no fault of ours.
// Errors  those of quant::FileError; INVALID_ARGUMENT more than max_bytes, or no regular file.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t max_bytes);

}  // namespace bitdial::server
