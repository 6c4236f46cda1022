// Rounding that every compiler vectorizes.
#pragma once

namespace bitdial {

// rint for |value| < 2^22, ties to even.
inline float RoundEven(float value) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  return (value + kMagic) - kMagic;
}

}  // namespace bitdial
