// Test memory that ends at an unmapped page: one element read or written past the end is a crash,
// not a pass.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/core/check.h"

namespace bitdial::testing {

// count elements whose last byte is the last of a page and whose first lies as misaligned as that
// makes it. A guard page before the mapping as well. Zeroed.
template <typename T>
class GuardedArray {
 public:
  explicit GuardedArray(size_t count) : count_(count) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t body = (count * sizeof(T) + page - 1) / page * page;
    mapped_bytes_ = body + 2 * page;
    mapped_ = static_cast<std::byte*>(
        mmap(nullptr, mapped_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    BITDIAL_CHECK(mapped_ != MAP_FAILED);
    if (body > 0) BITDIAL_CHECK(mprotect(mapped_ + page, body, PROT_READ | PROT_WRITE) == 0);
    data_ = reinterpret_cast<T*>(mapped_ + page + body - count * sizeof(T));
  }
  explicit GuardedArray(const std::vector<T>& values) : GuardedArray(values.size()) {
    if (!values.empty()) std::memcpy(data_, values.data(), values.size() * sizeof(T));
  }
  ~GuardedArray() { munmap(mapped_, mapped_bytes_); }
  GuardedArray(const GuardedArray&) = delete;
  GuardedArray& operator=(const GuardedArray&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return count_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  size_t count_;
  size_t mapped_bytes_;
  std::byte* mapped_;
  T* data_;
};

}  // namespace bitdial::testing
