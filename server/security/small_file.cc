#include "server/security/small_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "quant/container/file_errors.h"

namespace bitdial::server {
namespace {

absl::StatusOr<std::string> ReadAll(int fd, const std::string& path, size_t max_bytes) {
  struct stat info = {};
  if (fstat(fd, &info) != 0) return quant::FileError(errno, path, "look at");
  if (!S_ISREG(info.st_mode)) return InvalidArgument("{}: is no regular file", path);
  std::string text;
  char buffer[16 << 10];
  for (;;) {
    const ssize_t num_read = read(fd, buffer, sizeof(buffer));
    if (num_read < 0 && errno == EINTR) continue;
    if (num_read < 0) return quant::FileError(errno, path, "read");
    if (num_read == 0) return text;
    text.append(buffer, static_cast<size_t>(num_read));
    if (text.size() > max_bytes) {
      return InvalidArgument("{}: is larger than {} bytes; is it the right file?", path, max_bytes);
    }
  }
}

}  // namespace

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t max_bytes) {
  // O_NONBLOCK: a pipe in place of the file must not hold us up.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return quant::FileError(errno, path, "open");
  absl::StatusOr<std::string> text = ReadAll(fd, path, max_bytes);
  close(fd);
  return text;
}

}  // namespace bitdial::server
