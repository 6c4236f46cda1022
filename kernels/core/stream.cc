#include "kernels/core/stream.h"

#include "kernels/core/check.h"

namespace bitdial {

std::byte* Stream::Scratch(size_t num_bytes) {
  if (num_bytes > scratch_.num_bytes()) {
    scratch_ = Buffer();  // give back first: the peak stays at the larger of the two
    auto grown = Buffer::Allocate(Device::kCpu, num_bytes + num_bytes / 4);
    BITDIAL_CHECK(grown.ok());
    scratch_ = std::move(grown).value();
  }
  return scratch_.data();
}

}  // namespace bitdial
