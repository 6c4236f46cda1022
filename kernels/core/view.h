// Non-owning views. Plain structs: they may cross into files compiled with ISA flags.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "kernels/core/dtype.h"

namespace bitdial {

// Always inlined: a copy compiled with ISA flags must never become the one the linker keeps.
#define BITDIAL_INLINE [[gnu::always_inline]] inline

// Row-major matrix: element (r, c) is data[r * stride + c]. Owns nothing.
template <typename T>
struct Matrix {
  T* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // elements between rows, >= cols

  BITDIAL_INLINE T* Row(int64_t row) const { return data + row * stride; }
  // Rows [begin, begin + count).
  BITDIAL_INLINE Matrix Rows(int64_t begin, int64_t count) const { return {Row(begin), count, cols, stride}; }
  // Columns [begin, begin + count).
  BITDIAL_INLINE Matrix Cols(int64_t begin, int64_t count) const { return {data + begin, rows, count, stride}; }
  BITDIAL_INLINE operator Matrix<const T>() const
    requires(!std::is_const_v<T>)
  {
    return {data, rows, cols, stride};
  }
};

template <typename T>
BITDIAL_INLINE Matrix<T> MakeMatrix(T* data, int64_t rows, int64_t cols) {
  return {data, rows, cols, cols};
}

// Up to four dimensions, outermost first.
struct Shape {
  std::array<int64_t, 4> dims = {};
  int rank = 0;

  Shape() = default;
  Shape(std::initializer_list<int64_t> list) {
    for (int64_t dim : list) dims[static_cast<size_t>(rank++)] = dim;
  }
  int64_t operator[](int axis) const { return dims[static_cast<size_t>(axis)]; }
  int64_t NumElements() const {
    int64_t count = 1;
    for (int axis = 0; axis < rank; ++axis) count *= (*this)[axis];
    return count;
  }
  bool operator==(const Shape&) const = default;
};

// A contiguous row-major tensor somewhere in memory (usually a mapped file).
// The data pointer has at least the alignment of the element type: readers guarantee it.
struct TensorView {
  const std::byte* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;

  size_t NumBytes() const { return static_cast<size_t>(shape.NumElements()) * SizeOf(dtype); }
  template <typename T>
  const T* As() const {
    return reinterpret_cast<const T*>(data);
  }
};

}  // namespace bitdial
