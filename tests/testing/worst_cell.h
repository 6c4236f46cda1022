// How far an array lies from what was expected, and where.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace bitdial::testing {

struct Worst {
  double error = 0;  // largest |got - want|
  double scale = 0;  // largest |want|
  size_t cell = 0;
};

// |got - want|; infinite where it is no number, since a NaN compares below every bound.
inline double ErrorOf(double got, double want) {
  const double error = std::abs(got - want);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

inline Worst Compare(const std::vector<float>& got, const std::vector<float>& want) {
  EXPECT_EQ(got.size(), want.size());
  Worst worst;
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    const double error = ErrorOf(got[i], want[i]);
    worst.scale = std::max(worst.scale, std::abs(double{want[i]}));
    if (error > worst.error) worst.error = error, worst.cell = i;
  }
  return worst;
}

}  // namespace bitdial::testing
