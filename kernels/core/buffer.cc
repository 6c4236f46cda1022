#include "kernels/core/buffer.h"

#include <new>

namespace bitdial {
namespace {
constexpr std::align_val_t kAlignment{64};  // one cache line, one AVX-512 register
}

void Buffer::Deleter::operator()(std::byte* data) const { ::operator delete(data, kAlignment); }

absl::StatusOr<Buffer> Buffer::Allocate(Device device, size_t num_bytes) {
  if (device != Device::kCpu) return Unimplemented("Buffer: this build has no backend for the asked device");
  Buffer buffer;
  buffer.data_.reset(static_cast<std::byte*>(::operator new(num_bytes, kAlignment, std::nothrow)));
  if (buffer.data_ == nullptr) {
    return ResourceExhausted("out of memory: {} bytes could not be allocated", num_bytes);
  }
  buffer.num_bytes_ = num_bytes;
  buffer.device_ = device;
  return buffer;
}

}  // namespace bitdial
