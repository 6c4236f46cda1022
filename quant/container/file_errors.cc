#include "quant/container/file_errors.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace bitdial::quant {
namespace {

absl::StatusCode CodeOf(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
      return absl::StatusCode::kNotFound;
    case EEXIST:
      return absl::StatusCode::kAlreadyExists;
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::StatusCode::kPermissionDenied;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return absl::StatusCode::kResourceExhausted;
    default:
      return absl::StatusCode::kUnknown;
  }
}

}  // namespace

absl::Status FileError(int error, const std::string& path, const std::string& action) {
  // Who was refused: in a container it is seldom who one thinks.
  const std::string who = error == EACCES ? fmt::format(" (this process runs as user {}, group {})",
                                                        ::geteuid(), ::getegid())
                                          : "";
  return MakeStatus(CodeOf(error), "{}: cannot {}: {}{}", path, action, std::strerror(error), who);
}

}  // namespace bitdial::quant
