// Whether a path leads to something, said without an exception.
#pragma once

#include <string>

#include "kernels/core/status.h"

namespace bitdial::quant {

// False where nothing is.
// Errors  NOT_FOUND a link to what is not there (says what): somebody put a file there, and a copy
//         or a mount left behind what it is a link to;
//         those of FileError where it cannot be told: a link in circles, a folder that may not be
//         searched.
absl::StatusOr<bool> PathExists(const std::string& path);

}  // namespace bitdial::quant
