// The format int8: made from bit-planes, and every row of it against the formula.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/formats/bcq/canonical.h"
#include "kernels/formats/int8/from_bcq.h"
#include "kernels/formats/int8/int8.h"
#include "kernels/formats/int8/rows.h"
#include "kernels/kernel_table.h"
#include "tests/kernels/bcq_random.h"
#include "tests/testing/worst_cell.h"

namespace bitdial::kernels {
namespace {

std::vector<const KernelRow*> LinearRows() {
  static const KernelTable table = KernelTable::Create(DetectCpuFeatures(), "").value();
  std::vector<const KernelRow*> rows;
  for (const KernelRow& row : Int8Rows()) {
    if (table.IsRunnable(row)) rows.push_back(&row);
  }
  return rows;
}

// Planes on a uniform grid, as `quantize` makes those of a head: alpha * 2^(bits - 1 - p).
void MakeUniform(RandomBcq& random) {
  const CanonicalScales& set = random.canonical.scales.front();
  const auto out = static_cast<size_t>(set.alpha.shape[2]);
  const auto bits = static_cast<size_t>(set.bits);
  std::vector<uint16_t>& alphas = random.alphas.front();
  for (size_t i = 0; i < alphas.size(); ++i) {
    const size_t group = i / out / bits, plane = i / out % bits, o = i % out;
    const uint16_t last = alphas[(group * bits + bits - 1) * out + o];
    alphas[i] = F32ToF16(std::ldexp(F16ToF32(last), static_cast<int>(bits - 1 - plane)));
  }
}

// What the stored bytes stand for.
double WeightAt(const Int8Weight& weight, int64_t o, int64_t i) {
  const int64_t tile = o / int8::kTileLanes, lane = o % int8::kTileLanes;
  const int64_t span = i / weight.span_inputs, num_spans = weight.in_features / weight.span_inputs;
  const int64_t scale = (tile * num_spans + span) * int8::kTileLanes + lane;
  const int w8 = weight.weights.As<int8_t>()[tile * int8::kTileLanes * weight.in_features +
                                             (i / 2 * int8::kTileLanes + lane) * 2 + i % 2];
  const double beta =
      weight.beta.num_bytes() == 0 ? 0.0 : F16ToF32(weight.beta.As<uint16_t>()[scale]);
  return static_cast<double>(F16ToF32(weight.alpha.As<uint16_t>()[scale])) * (2 * w8 + 1) + beta;
}

TEST(Int8FromBcq, UniformPlanesLoseNothing) {
  ThreadPool pool(2);
  for (const int bits : {6, 7, 8}) {
    for (const int64_t group_size : {32, 64, 96, 128, 256}) {
      RandomBcq random({.in_features = group_size * 2,
                        .out_features = 70,
                        .group_size = group_size,
                        .max_bits = bits,
                        .sets = {bits},
                        .with_beta = bits != 7});
      MakeUniform(random);
      const Int8Weight weight =
          MakeInt8(PrepareBcq(random.canonical, pool).value(), pool).value();
      std::vector<double> expected(static_cast<size_t>(weight.in_features));
      for (int64_t o = 0; o < weight.out_features; ++o) {
        DequantizeRow(random.canonical, bits, o, std::span<double>(expected));
        for (int64_t i = 0; i < weight.in_features; ++i) {
          ASSERT_NEAR(WeightAt(weight, o, i), expected[i], 1e-12) << bits << " bits, output " << o;
        }
      }
    }
  }
}

// Scales that are no powers of two: off by the grid's half step where it reaches, and by what it does not
// reach at its ends.
TEST(Int8FromBcq, OtherPlanesAreRoundedToTheGridThatFits) {
  ThreadPool pool(1);
  RandomBcq random({.in_features = 256, .out_features = 70, .group_size = 64, .max_bits = 8, .sets = {8}});
  MakeUniform(random);
  std::mt19937 engine(4);
  for (uint16_t& alpha : random.alphas.front()) {
    alpha = F32ToF16(F16ToF32(alpha) * (1 + 0.04f * static_cast<float>(engine() % 100) / 100));
  }
  const Int8Weight weight = MakeInt8(PrepareBcq(random.canonical, pool).value(), pool).value();
  std::vector<double> expected(256);
  double error = 0, size = 0;
  for (int64_t o = 0; o < 70; ++o) {
    DequantizeRow(random.canonical, 8, o, std::span<double>(expected));
    for (int64_t i = 0; i < 256; ++i) {
      error += std::pow(WeightAt(weight, o, i) - expected[i], 2);
      size += std::pow(expected[i], 2);
    }
  }
  // A uniform 8-bit grid over uniform values: 1 / 256.
  EXPECT_LT(std::sqrt(error / size), 1.2 / 256);
}

// Any scales at all: of other signs and orders, alike, far apart, none. A 255th of the largest weight is
// what a uniform grid over the range is off by.
TEST(Int8FromBcq, NoScalesAreOffByMoreThanARangeGrid) {
  ThreadPool pool(1);
  const auto powers = [](float ratio) {
    std::vector<float> scales(8, 0.3f);
    for (size_t p = 1; p < 8; ++p) scales[p] = scales[p - 1] * ratio;
    return scales;
  };
  std::vector<float> negative = powers(0.5f), reversed = powers(0.5f);
  negative[0] = -negative[0];
  std::reverse(reversed.begin(), reversed.end());
  for (const std::vector<float>& scales :
       {negative, reversed, powers(1), powers(0.7f), powers(0.55f), powers(0.1f), powers(0)}) {
    RandomBcq random({.in_features = 128, .out_features = 70, .group_size = 64, .max_bits = 8, .sets = {8}});
    for (size_t i = 0; i < random.alphas.front().size(); ++i) {
      random.alphas.front()[i] = F32ToF16(scales[i / 70 % 8]);
    }
    const Int8Weight weight = MakeInt8(PrepareBcq(random.canonical, pool).value(), pool).value();
    std::vector<double> expected(128);
    double error = 0, size = 0;
    float sum = 0;
    for (const float scale : scales) sum += std::abs(scale);
    for (int64_t o = 0; o < 70; ++o) {
      DequantizeRow(random.canonical, 8, o, std::span<double>(expected));
      for (int64_t i = 0; i < 128; ++i) {
        const double off = WeightAt(weight, o, i) - expected[i];
        error += off * off;
        size += 1;
      }
    }
    EXPECT_LE(std::sqrt(error / size), 1.01 * static_cast<double>(sum) / 255)
        << "scales " << scales[0] << ", " << scales[1] << ", ...";
  }
}

// A weight, activations with a stride, and a bias.
struct Problem {
  ThreadPool pool{1};
  Int8Weight weight;
  int64_t num_rows;
  std::vector<float> x, bias;

  Problem(int64_t in, int64_t out, int64_t span, int64_t rows, bool with_beta = true) : num_rows(rows) {
    RandomBcq random({.in_features = in,
                      .out_features = out,
                      .group_size = span,
                      .max_bits = 8,
                      .sets = {8},
                      .with_beta = with_beta});
    weight = MakeInt8(PrepareBcq(random.canonical, pool).value(), pool).value();
    std::mt19937 engine(6);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < rows * XStride(); ++i) x.push_back(normal(engine));
    for (int64_t i = 0; i < out; ++i) bias.push_back(normal(engine));
  }

  int64_t XStride() const { return weight.in_features + 3; }
  int64_t YStride() const { return weight.out_features + 5; }
  std::vector<float> Run(const KernelRow& row, int64_t first, int64_t count, int threads = 1) const {
    std::vector<float> y(static_cast<size_t>(count * YStride()), kCanary);
    ThreadPool run_pool(threads);
    Stream stream(run_pool);
    LinearArgs args;
    args.int8 = &weight;
    args.x = Matrix<const float>{x.data(), num_rows, weight.in_features, XStride()}.Rows(first, count);
    args.y = {y.data(), count, weight.out_features, YStride()};
    args.bias = bias.data();
    std::get<LinearFn>(row.fn)(args, stream);
    return y;
  }
  static constexpr float kCanary = 12345.0f;
};

// Inputs are off by half a scale of 16 bits, the rest is fp32 rounding.
TEST(Int8Linear, EveryRowIsTheFormula) {
  for (const KernelRow* row : LinearRows()) {
    double worst = 0;
    for (const auto& [in, out, span] : {std::tuple{32, 1, 32}, {192, 65, 64}, {512, 130, 128}}) {
      const Problem p(in, out, span, 7, span != 64);
      const std::vector<float> y = p.Run(*row, 0, 7);
      for (int64_t r = 0; r < 7; ++r) {
        const float* const x = p.x.data() + r * p.XStride();
        for (int64_t o = 0; o < out; ++o) {
          double expected = p.bias[o], bound = 0, size = std::abs(expected);
          for (int64_t first = 0; first < in; first += span) {
            double largest = 0;
            for (int64_t i = first; i < first + span; ++i) {
              largest = std::max<double>(largest, std::abs(x[i]));
            }
            for (int64_t i = first; i < first + span; ++i) {
              const double w = WeightAt(p.weight, o, i);
              expected += w * x[i];
              bound += std::abs(w) * 0.5 * largest / 32767;
              size += std::abs(w * x[i]);
            }
          }
          // A chain of two fma a span, and a beta that may cancel what the rest adds.
          bound = 1.01 * bound + (4 + 2.0 * in / span) * 0x1p-24 * 4 * size;
          const double share = testing::ErrorOf(y[r * p.YStride() + o], expected) / bound;
          worst = std::max(worst, share);
          ASSERT_LE(share, 1) << row->name << " in " << in << " row " << r << " output " << o;
        }
        for (int64_t o = out; o < p.YStride(); ++o) ASSERT_EQ(y[r * p.YStride() + o], Problem::kCanary);
      }
    }
    EXPECT_GT(worst, 0) << row->name << ": nothing was compared";
  }
}

TEST(Int8Linear, RowsOfTheClassAgreeBitForBitInAnyCompany) {
  const Problem p(256, 130, 64, 150);
  const std::vector<float> expected = p.Run(*LinearRows().front(), 0, 150);
  for (const KernelRow* row : LinearRows()) {
    for (const auto& [first, count, threads] :
         {std::tuple{0, 150, 3}, {0, 1, 1}, {7, 2, 1}, {60, 5, 2}, {149, 1, 1}}) {
      const std::vector<float> y = p.Run(*row, first, count, threads);
      EXPECT_EQ(std::memcmp(y.data(), expected.data() + first * p.YStride(), y.size() * sizeof(float)), 0)
          << row->name << " rows " << first << " + " << count;
    }
  }
}

TEST(Int8Linear, WhatIsNotFiniteStaysSoAndInItsRow) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const KernelRow* row : LinearRows()) {
    for (const float bad : {kInf, -kInf, std::numeric_limits<float>::quiet_NaN()}) {
      Problem p(256, 70, 64, 2);
      p.x[100] = bad;
      const std::vector<float> y = p.Run(*row, 0, 2);
      for (int64_t o = 0; o < 70; ++o) {
        EXPECT_TRUE(std::isnan(y[o])) << row->name;
        EXPECT_TRUE(std::isfinite(y[p.YStride() + o])) << row->name << ": a neighbour is hit";
      }
    }
  }
}

TEST(Int8Rows, ShapesAreRefusedByPrecondition) {
  for (const KernelRow& row : Int8Rows()) {
    const KernelShape good = {.in_features = 192, .out_features = 7, .group_size = 64};
    const auto reason = [&](auto change) {
      KernelShape shape = good;
      change(shape);
      return row.supports(shape);
    };
    EXPECT_EQ(row.supports(good), "") << row.name;
    EXPECT_EQ(reason([](KernelShape& s) { s.in_features = 100; }),
              "group_size 64 does not divide in_features 100");
    EXPECT_EQ(reason([](KernelShape& s) { s.out_features = 0; }), "out_features 0 is not positive");
    EXPECT_EQ(reason([](KernelShape& s) { s.group_size = 96; }),
              "group_size 96 is none of 32, 64, 128");
  }
}

}  // namespace
}  // namespace bitdial::kernels
