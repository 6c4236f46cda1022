// What the decode classes with integer tables share: lut4_i8.h and lut4_i16.h. POD only.
//
// A span is kMaxSpanInputs inputs of a group, or fewer where the group asks for it (SpanInputs).
// All tables of a span share one scale, the largest |entry| over the largest integer (`largest`
// below: 127 or 1023), as the blocks of 8-bit activations do elsewhere; an entry is off by at most
// half a scale. Sums within a span are exact integers.
//
// For row r and output o:
//   y = 0
//   for group g ascending:
//     for plane p < bits ascending:
//       u = 0
//       for span of g ascending: u = fma(scale, float(sum of the span's N[code]), u)
//       y = fma(alpha, u, y)
//     y = fma(beta, s, y), s = chain of T[15] over the group as in lut4_f32    no beta: left out
//   y = y + bias
// with T[c] = ((±x0 ± x1) ± x2) ± x3 and N[c] = rint(T[c] * (largest / max|T|)), all in fp32. A group
// with an input that is not finite has scales NaN: the output is NaN, never a wrong number; where
// finite inputs overflow a table, it is infinite or NaN.
// Implementations agree bit for bit, on any processor, and rows do not depend on each other.
#pragma once

#include <cstdint>

#include "kernels/formats/bcq/lut4.h"

namespace bitdial::kernels::bcq {

// The tables of a row in a group: the entries, block by block of 32 inputs; then float [span], the
// scales; then padding to 64 bytes.
template <typename Entry>
inline constexpr int64_t kIntBlockBytes =
    kTablesPerBlock * kTableEntries * static_cast<int64_t>(sizeof(Entry));

template <typename Entry>
BITDIAL_INLINE int64_t IntScaleOffset(int64_t group_size) {
  return group_size / kBlockInputs * kIntBlockBytes<Entry>;
}

template <typename Entry>
BITDIAL_INLINE int64_t IntTableBytes(int64_t group_size) {
  const int64_t scale_bytes =
      group_size / SpanInputs(group_size) * static_cast<int64_t>(sizeof(float));
  return IntScaleOffset<Entry>(group_size) + (scale_bytes + 63) / 64 * 64;
}

// A largest entry up to this counts as zero: largest / max|T| would overflow.
inline constexpr float kIntTiny = 1e-30f;

}  // namespace bitdial::kernels::bcq
