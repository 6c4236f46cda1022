// Reading memory and nothing else, with the widest loads a processor has: what a kernel that is
// bound by memory is measured against.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitdial::kernels {

// The XOR of all bytes, folded to 8; num_bytes is a multiple of 256, data aligned to 64. One
// sequential stream on the caller's thread.
using ReadPassFn = uint64_t (*)(const std::byte* data, size_t num_bytes) noexcept;

uint64_t ReadPassPlain(const std::byte* data, size_t num_bytes) noexcept;
uint64_t ReadPassAvx2(const std::byte* data, size_t num_bytes) noexcept;
uint64_t ReadPassAvx512(const std::byte* data, size_t num_bytes) noexcept;

// The widest of them that this processor runs.
ReadPassFn WidestReadPass();

}  // namespace bitdial::kernels
