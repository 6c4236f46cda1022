#include "quant/container/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>

#include "quant/container/file_errors.h"

namespace bitdial::quant {
namespace {

// Closes on every way out of a function.
struct FileHandle {
  int fd;
  ~FileHandle() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<MappedFile>> MappedFile::Open(const std::string& path) {
  // O_NONBLOCK: a named pipe in place of a file must not hang us; it has no effect on regular
  // files.
  const FileHandle file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) return FileError(errno, path, "open");
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) return FileError(errno, path, "read its size");
  if (!S_ISREG(info.st_mode)) {
    return InvalidArgument("{}: is {}, expected a regular file", path,
                           S_ISDIR(info.st_mode) ? "a directory" : "a device, pipe or socket");
  }
  if (info.st_size <= 0) return DataLoss("{}: the file is empty", path);
  const auto size = static_cast<size_t>(info.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) return FileError(errno, path, fmt::format("map {} bytes", size));
  return std::unique_ptr<MappedFile>(
      new MappedFile(path, static_cast<const std::byte*>(data), size, /*is_mapped=*/true));
}

std::unique_ptr<MappedFile> MappedFile::CopyOf(std::span<const std::byte> bytes, std::string name) {
  auto* copy = new std::byte[bytes.size()];
  if (!bytes.empty()) std::memcpy(copy, bytes.data(), bytes.size());
  return std::unique_ptr<MappedFile>(
      new MappedFile(std::move(name), copy, bytes.size(), /*is_mapped=*/false));
}

MappedFile::~MappedFile() {
  if (is_mapped_) {
    ::munmap(const_cast<std::byte*>(data_), size_);
  } else {
    delete[] data_;
  }
}

void MappedFile::Forget(std::span<const std::byte> range) const {
  if (!is_mapped_ || range.empty()) return;
  // Whole pages inside the range only: a neighbour on the border page may still be in use.
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(range.data()) + page - 1) / page * page;
  const auto end = (reinterpret_cast<uintptr_t>(range.data()) + range.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace bitdial::quant
