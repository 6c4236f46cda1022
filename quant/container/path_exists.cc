#include "quant/container/path_exists.h"

#include <sys/stat.h>

#include <cerrno>

#include "quant/container/file_errors.h"

namespace bitdial::quant {

absl::StatusOr<bool> PathExists(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  return FileError(errno, path, "open");
}

}  // namespace bitdial::quant
