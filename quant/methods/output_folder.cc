#include "quant/methods/output_folder.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <span>
#include <system_error>

#include "quant/container/file_errors.h"
#include "quant/container/file_writer.h"
#include "quant/container/json_reader.h"
#include "quant/container/mapped_file.h"

namespace bitdial::quant {
namespace {

namespace fs = std::filesystem;

// The pid of "<final name>.tmp-<pid>", 0 when the name is another.
pid_t PidOfTemporary(const std::string& name, const std::string& final_name) {
  const std::string prefix = final_name + ".tmp-";
  if (name.compare(0, prefix.size(), prefix) != 0) return 0;
  pid_t pid = 0;
  const char* end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data() + prefix.size(), end, pid);
  return parsed.ec == std::errc() && parsed.ptr == end && pid > 0 ? pid : 0;
}

bool IsDead(pid_t pid) { return kill(pid, 0) != 0 && errno == ESRCH; }

absl::Status SyncFolder(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return FileError(errno, path, "open the folder");
  const int result = fsync(fd);
  const int error = errno;
  close(fd);
  // Some file systems cannot sync a folder; what they promise without it is all there is.
  return result == 0 || error == EINVAL ? absl::OkStatus()
                                        : FileError(error, path, "sync the folder");
}

std::string ParentOf(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

// A folder that an earlier quantize made: its config.json has our key.
bool IsOurs(const std::string& folder) {
  const auto config = ReadJsonFile(folder + "/config.json");
  return config.ok() && config->is_object() && config->contains("bitdial");
}

std::string WithoutTrailingSlashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

absl::StatusOr<std::unique_ptr<OutputFolder>> OutputFolder::Create(const std::string& path,
                                                                   bool overwrite) {
  const std::string final_path = WithoutTrailingSlashes(path);
  std::error_code error;
  const fs::file_status status = fs::symlink_status(final_path, error);
  if (fs::exists(status)) {
    if (!overwrite)
      return AlreadyExists("{}: is there already; choose another name or remove it", final_path);
    if (!fs::is_directory(status))
      return AlreadyExists("{}: is not a folder; choose another name", final_path);
    if (!IsOurs(final_path)) {
      return AlreadyExists("{}: was not made by quantize and is not replaced; choose another name",
                           final_path);
    }
  }
  fs::create_directories(ParentOf(final_path), error);
  if (error) return FileError(error.value(), ParentOf(final_path), "make the folder");

  const std::string temporary = fmt::format("{}.tmp-{}", final_path, getpid());
  std::unique_ptr<OutputFolder> folder(new OutputFolder(final_path, temporary, overwrite));
  folder->RemoveStale();
  fs::remove_all(temporary, error);  // an earlier process with our pid
  if (!fs::create_directory(temporary, error)) {
    return FileError(error ? error.value() : EEXIST, temporary, "make the folder");
  }
  return folder;
}

OutputFolder::~OutputFolder() {
  if (is_committed_) return;
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
}

void OutputFolder::RemoveStale() {
  std::error_code error;
  const std::string final_name = fs::path(final_).filename().string();
  std::vector<fs::path> stale;
  for (fs::directory_iterator it(ParentOf(final_), error), end; !error && it != end;
       it.increment(error)) {
    const pid_t pid = PidOfTemporary(it->path().filename().string(), final_name);
    if (pid != 0 && IsDead(pid)) stale.push_back(it->path());
  }
  for (const fs::path& path : stale) {
    std::error_code failed;
    fs::remove_all(path, failed);
    if (!failed) removed_.push_back(path.string());
  }
}

absl::Status OutputFolder::WriteFile(const std::string& file_name, const std::string& bytes) const {
  BITDIAL_ASSIGN_OR_RETURN(const std::unique_ptr<FileWriter> writer,
                           FileWriter::Create(PathOf(file_name), bytes.size()));
  BITDIAL_RETURN_IF_ERROR(writer->WriteAt(0, std::as_bytes(std::span(bytes))));
  return writer->Finish();
}

absl::StatusOr<bool> OutputFolder::CopyFile(const std::string& source_folder,
                                            const std::string& file_name) const {
  const std::string source = source_folder + "/" + file_name;
  std::error_code error;
  if (!fs::is_regular_file(source, error)) return false;
  BITDIAL_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(source));
  BITDIAL_ASSIGN_OR_RETURN(const std::unique_ptr<FileWriter> writer,
                           FileWriter::Create(PathOf(file_name), file->bytes().size()));
  BITDIAL_RETURN_IF_ERROR(writer->WriteAt(0, file->bytes()));
  BITDIAL_RETURN_IF_ERROR(writer->Finish());
  return true;
}

absl::Status OutputFolder::Commit() {
  BITDIAL_RETURN_IF_ERROR(SyncFolder(temporary_));
  std::error_code ignored;
  const bool replaces = overwrite_ && fs::exists(final_, ignored);
  const unsigned flags = replaces ? RENAME_EXCHANGE : RENAME_NOREPLACE;
  if (renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, final_.c_str(), flags) != 0) {
    // A file system without the flags (EINVAL): plain rename, which itself refuses a folder that is
    // not empty.
    if (errno != EINVAL || replaces || rename(temporary_.c_str(), final_.c_str()) != 0) {
      return FileError(errno, final_, fmt::format("rename {} to it", temporary_));
    }
  }
  is_committed_ = true;
  if (replaces) fs::remove_all(temporary_, ignored);  // the old folder, swapped out
  return SyncFolder(ParentOf(final_));
}

}  // namespace bitdial::quant
