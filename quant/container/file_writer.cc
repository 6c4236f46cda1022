#include "quant/container/file_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "quant/container/file_errors.h"

namespace bitdial::quant {

absl::StatusOr<std::unique_ptr<FileWriter>> FileWriter::Create(const std::string& path,
                                                               uint64_t num_bytes) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return FileError(errno, path, "create the file");
  std::unique_ptr<FileWriter> writer(new FileWriter(fd, path));
  // EOPNOTSUPP and the like: this file system cannot reserve, then the writes themselves will tell.
  if (num_bytes > 0 && ::fallocate(fd, 0, 0, static_cast<off_t>(num_bytes)) != 0 &&
      (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
    return FileError(errno, path, fmt::format("reserve {} bytes on the disk", num_bytes));
  }
  return writer;
}

FileWriter::~FileWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(path_.c_str());
}

absl::Status FileWriter::WriteAt(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    // Linux writes at most 2 GiB at once.
    const size_t chunk = std::min<size_t>(bytes.size(), 1u << 30);
    const ssize_t written = ::pwrite(fd_, bytes.data(), chunk, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      return FileError(written < 0 ? errno : ENOSPC, path_,
                       fmt::format("write {} bytes at offset {}", bytes.size(), offset));
    }
    offset += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status FileWriter::Finish() {
  if (::fsync(fd_) != 0) return FileError(errno, path_, "flush the file to the disk");
  const int fd = fd_;
  fd_ = -1;  // whatever close says, the handle is gone
  if (::close(fd) != 0) {
    const int error = errno;
    ::unlink(path_.c_str());
    return FileError(error, path_, "close the file");
  }
  return absl::OkStatus();
}

}  // namespace bitdial::quant
