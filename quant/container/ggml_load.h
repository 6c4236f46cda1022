// Numbers out of ggml's blocks, whose fields have no alignment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/core/dtype.h"

namespace bitdial::quant {

// Little-endian, as the host is (checked in gguf_file.cc).
template <typename T>
T LoadUnaligned(const std::byte* data) {
  T value;
  std::memcpy(&value, data, sizeof(T));
  return value;
}

inline float LoadF16(const std::byte* data) { return F16ToF32(LoadUnaligned<uint16_t>(data)); }

inline int LoadByte(const std::byte* data, int index) { return std::to_integer<int>(data[index]); }

}  // namespace bitdial::quant
