// Whether a path leads to something, said without an exception.
#pragma once

#include <string>

#include "kernels/core/status.h"

namespace bitdial::quant {

// False where nothing is. Errors  those of FileError where that cannot be told: a link that leads
// in circles, a folder that may not be searched.
absl::StatusOr<bool> PathExists(const std::string& path);

}  // namespace bitdial::quant
