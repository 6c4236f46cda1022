// A folder for one test, gone with it.
#pragma once

#include <stdlib.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

namespace bitdial::testing {

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "bitdial_test_XXXXXX").string();
    path_ = ::mkdtemp(pattern.data()) != nullptr ? pattern : std::string();
  }
  ~TempDir() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  // Writes (or overwrites) a file and returns its path.
  std::string Write(const std::string& name, std::string_view contents) const {
    const std::string path = *this / name;
    Remove(name);  // a new file: ext4 flushes one that is truncated and rewritten
    std::ofstream(path, std::ios::binary) << contents;
    return path;
  }
  std::string Write(const std::string& name, std::span<const std::byte> contents) const {
    return Write(name,
                 std::string_view(reinterpret_cast<const char*>(contents.data()), contents.size()));
  }

  // A file that is not there is well.
  void Remove(const std::string& name) const {
    std::error_code ignored;
    std::filesystem::remove(*this / name, ignored);
  }

 private:
  std::string path_;
};

}  // namespace bitdial::testing
