// errno to absl::Status, for the files of a checkpoint.
#pragma once

#include <string>

#include "kernels/core/status.h"

namespace bitdial::quant {

// `error` is an errno value, `action` what failed ("open", "write 4096 bytes at offset 128").
//   ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG            NOT_FOUND
//   EEXIST                   ALREADY_EXISTS
//   EACCES, EPERM, EROFS     PERMISSION_DENIED
//   ENOSPC, EDQUOT, EFBIG, ENOMEM, EMFILE, ENFILE   RESOURCE_EXHAUSTED
//   anything else            UNKNOWN
absl::Status FileError(int error, const std::string& path, const std::string& action);

}  // namespace bitdial::quant
