// Several arrays in one scratch allocation.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitdial {

// Hands out 64-byte aligned pieces of one scratch allocation; a null base only measures.
class ScratchCursor {
 public:
  explicit ScratchCursor(std::byte* base) : base_(base) {}
  template <typename T>
  T* Take(int64_t count) {
    T* const piece = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    used_ += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return piece;
  }
  size_t used() const { return used_; }

 private:
  std::byte* base_;
  size_t used_ = 0;
};

}  // namespace bitdial
