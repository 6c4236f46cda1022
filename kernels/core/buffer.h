// Owning memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/core/status.h"

namespace bitdial {

enum class Device : uint8_t { kCpu, kCuda };

// Lets go what was allocated with this alignment.
struct AlignedDelete {
  size_t alignment = 0;
  void operator()(std::byte* data) const;
};

// A block of uninitialised memory on one device, 64-byte aligned at least; large ones ask for huge
// pages. Move-only.
// Thread    no synchronisation of its own.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&&) = default;
  Buffer& operator=(Buffer&&) = default;

  // Errors  RESOURCE_EXHAUSTED with the bytes asked when the memory is not to be had,
  //         UNIMPLEMENTED for a device this build has no backend for.
  static absl::StatusOr<Buffer> Allocate(Device device, size_t num_bytes);

  std::byte* data() const { return data_.get(); }
  size_t num_bytes() const { return num_bytes_; }
  Device device() const { return device_; }
  template <typename T>
  T* As() const {
    return reinterpret_cast<T*>(data_.get());
  }

 private:
  std::unique_ptr<std::byte, AlignedDelete> data_;
  size_t num_bytes_ = 0;
  Device device_ = Device::kCpu;
};

}  // namespace bitdial
