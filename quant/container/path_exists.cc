#include "quant/container/path_exists.h"

#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "quant/container/file_errors.h"

namespace bitdial::quant {

absl::StatusOr<bool> PathExists(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0) return true;
  if (errno != ENOENT && errno != ENOTDIR) return FileError(errno, path, "open");
  std::error_code is_no_link;
  const std::filesystem::path target = std::filesystem::read_symlink(path, is_no_link);
  if (is_no_link) return false;
  return NotFound(
      "{}: is a link to {}, which is not there; copy the folder with cp -rL, or mount the one that "
      "holds both (of a Hugging Face cache, the one above snapshots/)",
      path, target.string());
}

}  // namespace bitdial::quant
