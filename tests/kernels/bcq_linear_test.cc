// Every BCQ row of this build against the plain formula, and the promises of linear.h and of
// invariant 8.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

#include "kernels/core/cpu_features.h"
#include "kernels/formats/bcq/lut4.h"
#include "kernels/formats/bcq/lut4_i16.h"
#include "kernels/formats/bcq/lut4_i8.h"
#include "kernels/formats/bcq/rows.h"
#include "kernels/kernel_table.h"
#include "tests/kernels/bcq_random.h"
#include "tests/testing/worst_cell.h"

namespace bitdial::kernels {
namespace {

using bcq::kTileLanes;

const KernelTable& Table() {
  static const KernelTable table = KernelTable::Create(DetectCpuFeatures(), "").value();
  return table;
}

// The linear rows this machine runs; the others are named once.
std::vector<const KernelRow*> LinearRows() {
  std::vector<const KernelRow*> rows;
  for (const KernelRow& row : BcqRows()) {
    if (row.key.op != Op::kLinear) continue;
    if (Table().IsRunnable(row)) {
      rows.push_back(&row);
    } else {
      std::printf("SKIPPED: %s needs another processor\n", row.name);
    }
  }
  return rows;
}

const std::vector<RandomBcqOptions>& Shapes() {
  static const std::vector<RandomBcqOptions> shapes = {
      {.in_features = 32, .out_features = 1, .group_size = 32, .max_bits = 1},
      {.in_features = 64, .out_features = 64, .group_size = 32, .max_bits = 2},
      {.in_features = 192, .out_features = 65, .group_size = 96, .max_bits = 3},
      {.in_features = 576, .out_features = 130, .group_size = 64, .max_bits = 4},
      {.in_features = 320,
       .out_features = 100,
       .group_size = 64,
       .max_bits = 3,
       .with_beta = false},
      {.in_features = 512, .out_features = 67, .group_size = 128, .max_bits = 5, .sets = {3, 5}},
      {.in_features = 768,
       .out_features = 70,
       .group_size = 384,
       .max_bits = 2},  // a group across two panels
      {.in_features = 256, .out_features = 128, .group_size = 256, .max_bits = 8},
      {.in_features = 2048, .out_features = 192, .group_size = 2048, .max_bits = 4},
  };
  return shapes;
}

std::vector<RandomBcqOptions> ShapesOf(const KernelRow& row) {
  std::vector<RandomBcqOptions> shapes = Shapes();
  std::erase_if(shapes, [&](const RandomBcqOptions& shape) {
    return !row.supports({.in_features = shape.in_features,
                          .out_features = shape.out_features,
                          .group_size = shape.group_size,
                          .max_bits = shape.max_bits})
                .empty();
  });
  EXPECT_GE(shapes.size(), 8u) << row.name;
  return shapes;
}

// A weight, activations [rows, in] with a stride, bias and bits, and what any kernel makes of them.
struct Problem {
  RandomBcq random;
  ThreadPool pool{1};
  BcqWeight weight;
  int64_t num_rows;
  int64_t in_features;
  int64_t out_features;
  std::vector<float> x, bias;
  std::vector<uint8_t> bits;

  // bits: descending, one for each row. largest_entry: of the tables of inputs that are to be exact.
  Problem(const RandomBcqOptions& options, std::vector<uint8_t> row_bits, float largest_entry = 127)
      : random(options),
        num_rows(static_cast<int64_t>(row_bits.size())),
        in_features(options.in_features),
        out_features(options.out_features),
        bits(std::move(row_bits)) {
    weight = PrepareForEveryRow(random.canonical, pool);
    std::mt19937 engine(options.seed + 100);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < num_rows * XStride(); ++i) {
      x.push_back(options.exact ? static_cast<float>(static_cast<int>(engine() % 17) - 8)
                                : normal(engine));
    }
    // The largest entry of a class in every span makes the scale of integer tables 1: they are exact
    // too.
    for (int64_t r = 0; options.exact && r < num_rows; ++r) {
      for (int64_t i = 0; i < in_features; i += 32) {
        std::copy_n(std::array{largest_entry - 27, -20.0f, 5.0f, 2.0f}.begin(), 4, &x[r * XStride() + i]);
      }
    }
    for (int64_t o = 0; o < out_features; ++o) {
      bias.push_back(options.exact ? static_cast<float>(engine() % 9) : normal(engine));
    }
  }

  int64_t XStride() const { return in_features + 3; }
  int64_t YStride() const { return out_features + 5; }
  Matrix<const float> X() const { return {x.data(), num_rows, in_features, XStride()}; }

  // Rows [first, first + count) through a kernel; y [count, YStride()], the gaps between rows keep
  // a canary.
  std::vector<float> Run(const KernelRow& row, int64_t first, int64_t count, int num_threads = 1,
                         WeightTraffic* traffic = nullptr) const {
    std::vector<float> y(count * YStride(), kCanary);
    ThreadPool threads(num_threads);
    Stream stream(threads);
    LinearArgs args;
    args.bcq = &weight;
    args.x = X().Rows(first, count);
    args.y = {y.data(), count, out_features, YStride()};
    args.bits = bits.data() + first;
    args.bias = bias.data();
    args.traffic = traffic;
    std::get<LinearFn>(row.fn)(args, stream);
    return y;
  }
  std::vector<float> Run(const KernelRow& row) const { return Run(row, 0, num_rows); }

  static constexpr float kCanary = 12345.0f;
};

// Descending bits over the sets of a shape: every value from max_bits to 1, so sets are also found
// by falling back.
std::vector<uint8_t> MixedBits(int max_bits, int64_t num_rows) {
  std::vector<uint8_t> bits(num_rows);
  for (int64_t r = 0; r < num_rows; ++r)
    bits[r] = static_cast<uint8_t>(max_bits - r * max_bits / num_rows);
  return bits;
}

bool SameBits(const float* a, const float* b, int64_t count) {
  return std::memcmp(a, b, static_cast<size_t>(count) * sizeof(float)) == 0;
}

// The formula in double, and a bound of what any fp32 evaluation of it may be off: with `chain`
// roundings on the way from an input to an output, |error| <= 1.01 * chain * 2^-24 * sum_g (sum_p
// |alpha| + |beta|) * sum_{i in g} |x|.
struct Oracle {
  double value;
  double bound;
};
// Integer tables add half a scale (the largest table entry over the largest integer) for every lookup
// of a span.
double SpanError(const float* x, int64_t span, double largest_integer) {
  double largest = 0;
  for (int64_t i = 0; i < span; i += 4) {
    largest = std::max<double>(
        largest, std::abs(x[i]) + std::abs(x[i + 1]) + std::abs(x[i + 2]) + std::abs(x[i + 3]));
  }
  return 1.01 * static_cast<double>(span / 4) * 0.5 * largest / largest_integer;
}
// 8-bit inputs, and the 8-bit alphas of weights (`scale` is the sum of the exact ones).
double EightBitError(const float* x, int64_t span, double scale, double beta, int bits) {
  double size = 0;
  for (int64_t i = 0; i < span; ++i) size += std::abs(x[i]);
  const double input = I8InputError(x, span);
  const auto n = static_cast<double>(span);
  return n * input * (scale + beta) + I8WeightError(bits) * scale * (size + n * input);
}
Oracle Expect(const Problem& p, int64_t r, int64_t o, int bits, double chain,
              const std::string& numeric_class = "") {
  std::vector<double> weights(p.in_features);
  DequantizeRow(p.random.canonical, bits, o, std::span<double>(weights));
  const CanonicalScales* set = nullptr;
  for (const CanonicalScales& s : p.random.canonical.scales) set = s.bits == bits ? &s : set;
  double value = p.bias[o], size = std::abs(p.bias[o]), error = 0;
  const int64_t span = bcq::SpanInputs(p.random.canonical.group_size);
  for (int64_t i = 0; i < p.in_features; ++i) {
    const int64_t group = i / p.random.canonical.group_size;
    double scale = 0;
    for (int plane = 0; plane < bits; ++plane) {
      scale += std::abs(
          F16ToF32(set->alpha.As<uint16_t>()[(group * bits + plane) * p.out_features + o]));
    }
    double beta = 0;
    if (set->beta.data != nullptr)
      beta = std::abs(F16ToF32(set->beta.As<uint16_t>()[group * p.out_features + o]));
    const float* const x = p.X().Row(r) + i;
    if (i % span == 0 && numeric_class == "lut4_i16") error += scale * SpanError(x, span, 1023);
    if (i % span == 0 && numeric_class == "bcq_i8")
      error += EightBitError(x, span, scale, beta, bits);
    value += weights[i] * *x;
    size += (scale + beta) * std::abs(*x);
  }
  return {value, 1.01 * chain * 0x1p-24 * size + error};
}

// Roundings between an input and an output, by class.
double ChainLength(const std::string& numeric_class, const RandomBcqOptions& shape, int bits) {
  const auto in = static_cast<double>(shape.in_features),
             group = static_cast<double>(shape.group_size);
  if (numeric_class == "ref_f64") return 1;
  if (numeric_class == "lut4_f32")
    return 3 + group / 4 + in / group * (bits + 1) + 1;  // table, sum, fma, bias
  if (numeric_class == "lut4_i16") {
    const auto span = static_cast<double>(bcq::SpanInputs(shape.group_size));
    return 4 + group / span + in / group * (bits + 1) + group / 4 + 1;  // beta's sum is lut4_f32's
  }
  if (numeric_class == "dequant_chain_f32") return bits + in + 1;  // weight, fma, bias
  if (numeric_class == "bcq_i8") {  // scale, product with a sum, two fma a span, bias
    return 4 + 2 * in / static_cast<double>(bcq::SpanInputs(shape.group_size)) + 1;
  }
  ADD_FAILURE() << "no bound for class " << numeric_class;
  return 0;
}

TEST(BcqLinear, EveryRowIsTheFormula) {
  for (const KernelRow* row : LinearRows()) {
    double worst = 0;
    std::string worst_cell = "none";
    for (const RandomBcqOptions& shape : ShapesOf(*row)) {
      const Problem p(shape, MixedBits(shape.max_bits, 9));
      const std::vector<float> y = p.Run(*row);
      for (int64_t r = 0; r < p.num_rows; ++r) {
        const int bits = p.weight.ScalesFor(p.bits[r]).bits;
        const double chain = ChainLength(row->numeric_class, shape, bits);
        for (int64_t o = 0; o < p.out_features; ++o) {
          const Oracle oracle = Expect(p, r, o, bits, chain, row->numeric_class);
          const double share =
              testing::ErrorOf(y[r * p.YStride() + o], oracle.value) / oracle.bound;
          if (share > worst) {
            worst = share;
            worst_cell = fmt::format(
                "in {} out {} group {} bits {} row {} output {}: got {}, expected {}, bound {}",
                p.in_features, p.out_features, shape.group_size, bits, r, o, y[r * p.YStride() + o],
                oracle.value, oracle.bound);
          }
        }
        for (int64_t o = p.out_features; o < p.YStride(); ++o) {
          ASSERT_EQ(y[r * p.YStride() + o], Problem::kCanary)
              << row->name << " writes past its row";
        }
      }
    }
    std::printf("%-34s worst error is %.3f of its bound, at %s\n", row->name, worst,
                worst_cell.c_str());
    EXPECT_LE(worst, 1.0) << row->name;
    EXPECT_GT(worst, 0.0) << row->name << ": nothing was compared";
  }
}

// Integers times multiples of 1/8: no rounding anywhere, so every class must hit the formula
// exactly.
TEST(BcqLinear, ExactInputsGiveExactOutputs) {
  for (const KernelRow* row : LinearRows()) {
    if (row->numeric_class == std::string("bcq_i8")) continue;  // rounds every scale
    for (RandomBcqOptions shape : ShapesOf(*row)) {
      shape.exact = true;
      const Problem p(shape, MixedBits(shape.max_bits, 5),
                      row->numeric_class == std::string("lut4_i16") ? 1023 : 127);
      const std::vector<float> y = p.Run(*row);
      for (int64_t r = 0; r < p.num_rows; ++r) {
        for (int64_t o = 0; o < p.out_features; ++o) {
          const double expected = Expect(p, r, o, p.weight.ScalesFor(p.bits[r]).bits, 0).value;
          ASSERT_EQ(y[r * p.YStride() + o], expected)
              << row->name << " in " << p.in_features << " row " << r;
        }
      }
    }
  }
}

TEST(BcqLinear, RowsOfOneClassAgreeBitForBit) {
  const std::vector<const KernelRow*> rows = LinearRows();
  int num_pairs = 0;
  for (size_t a = 0; a < rows.size(); ++a) {
    for (size_t b = a + 1; b < rows.size(); ++b) {
      if (std::string(rows[a]->numeric_class) != rows[b]->numeric_class) continue;
      ++num_pairs;
      for (const RandomBcqOptions& shape : ShapesOf(*rows[a])) {
        const Problem p(shape, MixedBits(shape.max_bits, 7));
        const std::vector<float> ya = p.Run(*rows[a]), yb = p.Run(*rows[b]);
        EXPECT_TRUE(SameBits(ya.data(), yb.data(), static_cast<int64_t>(ya.size())))
            << rows[a]->name << " and " << rows[b]->name << ", in " << p.in_features;
      }
    }
  }
  std::printf("%d pairs of rows share a class\n", num_pairs);
}

// Invariant 8: company, its bits and its NaNs change nothing. 200 rows cross every row block.
TEST(BcqLinear, ARowDoesNotDependOnItsCompany) {
  for (const KernelRow* row : LinearRows()) {
    for (const RandomBcqOptions& shape : ShapesOf(*row)) {
      if (shape.in_features > 600) continue;
      Problem p(shape, MixedBits(shape.max_bits, 200));
      std::vector<std::vector<float>> alone;
      const int64_t picked[] = {0, 1, 4, 15, 16, 47, 101, 191, 192, 198};
      for (int64_t r : picked) alone.push_back(p.Run(*row, r, 1));
      for (int64_t r : {5, 100, 199})
        p.x[r * p.XStride() + 7] = std::numeric_limits<float>::quiet_NaN();
      for (int64_t count : {2, 3, 5, 8, 17, 200}) {
        const std::vector<float> y = p.Run(*row, 0, count);
        for (size_t i = 0; i < std::size(picked); ++i) {
          if (picked[i] >= count) continue;
          ASSERT_TRUE(SameBits(y.data() + picked[i] * p.YStride(), alone[i].data(), p.out_features))
              << row->name << ": row " << picked[i] << " among " << count;
        }
        if (count == 200) {
          EXPECT_TRUE(std::isnan(y[5 * p.YStride()])) << row->name;
        }
      }
    }
  }
}

TEST(BcqLinear, ThreadsChangeNothing) {
  for (const KernelRow* row : LinearRows()) {
    for (const RandomBcqOptions& shape : ShapesOf(*row)) {
      const Problem p(shape, MixedBits(shape.max_bits, 6));
      const std::vector<float> one = p.Run(*row), three = p.Run(*row, 0, p.num_rows, 3);
      EXPECT_TRUE(SameBits(one.data(), three.data(), static_cast<int64_t>(one.size())))
          << row->name;
    }
  }
}

// Planes above the largest bits present and the scale sets nobody asked for are never part of a
// result.
TEST(BcqLinear, WhatIsNotAskedForIsNotRead) {
  for (const KernelRow* row : LinearRows()) {
    RandomBcqOptions shape = {
        .in_features = 256, .out_features = 100, .group_size = 64, .max_bits = 5};
    Problem p(shape, {3, 3, 2, 1});
    const std::vector<float> clean = p.Run(*row);
    const bcq::Layout layout = bcq::LayoutOf(p.weight);
    std::mt19937 engine(9);
    for (int64_t tile = 0; tile < layout.num_tiles; ++tile) {
      uint32_t* const words = p.weight.codes.As<uint32_t>() + layout.CodeOffset(tile, 3, 0);
      std::generate_n(words, 2 * layout.plane_stride,
                      [&] { return static_cast<uint32_t>(engine()); });
    }
    for (BcqScales& set : p.weight.scales) {
      if (set.bits <= 3) continue;
      for (const Buffer* scales : {&set.alpha, &set.beta, &set.alpha_i8, &set.unit}) {
        std::memset(scales->data(), 0x7f, scales->num_bytes());  // NaN, or 127
      }
    }
    const std::vector<float> poisoned = p.Run(*row);
    EXPECT_TRUE(SameBits(clean.data(), poisoned.data(), static_cast<int64_t>(clean.size())))
        << row->name;
  }
}

TEST(BcqLinear, PlanesStoredBeyondTheBitsChangeNothing) {
  for (const KernelRow* row : LinearRows()) {
    Problem all({.in_features = 256, .out_features = 70, .group_size = 64, .max_bits = 5},
                {3, 2, 2});
    Problem some({.in_features = 256, .out_features = 70, .group_size = 64, .max_bits = 3},
                 {3, 2, 2});
    some.x = all.x;
    some.bias = all.bias;
    for (int64_t block = 0; block < 8; ++block) {
      for (int plane = 0; plane < 3; ++plane) {
        std::copy_n(all.random.codes.begin() + (block * 5 + plane) * 70, 70,
                    some.random.codes.begin() + (block * 3 + plane) * 70);
      }
    }
    for (int s = 0; s < 3; ++s) {
      std::copy(all.random.alphas[s].begin(), all.random.alphas[s].end(),
                some.random.alphas[s].begin());
      std::copy(all.random.betas[s].begin(), all.random.betas[s].end(),
                some.random.betas[s].begin());
    }
    some.weight = PrepareForEveryRow(some.random.canonical, some.pool);
    EXPECT_EQ(all.Run(*row), some.Run(*row)) << row->name;
  }
}

// One pass over the planes: the largest bits present decide, not how many rows ask.
TEST(BcqLinear, CodesAreReadOnceUpToTheLargestBits) {
  for (const KernelRow* row : LinearRows()) {
    const RandomBcqOptions shape = {
        .in_features = 256, .out_features = 200, .group_size = 64, .max_bits = 4};
    const auto bytes = [&](std::vector<uint8_t> bits) {
      const Problem p(shape, std::move(bits));
      WeightTraffic traffic;
      p.Run(*row, 0, p.num_rows, 2, &traffic);
      return traffic.code_bytes;
    };
    const int64_t plane = 256 / 32 * 256 * 4;  // blocks, outputs padded to 64, bytes of a word
    EXPECT_EQ(bytes({1}), plane) << row->name;
    EXPECT_EQ(bytes({2}), 2 * plane) << row->name;
    EXPECT_EQ(bytes({4, 3, 2, 1}), 4 * plane) << row->name;
    EXPECT_EQ(bytes({3, 3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1}), 3 * plane) << row->name;
  }
}

TEST(BcqLinear, BetaAbsentIsBetaZero) {
  RandomBcqOptions shape = {
      .in_features = 128, .out_features = 70, .max_bits = 3, .with_beta = false};
  for (const KernelRow* row : LinearRows()) {
    Problem absent(shape, {3, 2, 1});
    const std::vector<float> expected = absent.Run(*row);
    for (BcqScales& set : absent.weight.scales) {  // zeros that prepare would have dropped
      const size_t num_bytes = set.alpha.num_bytes() / set.bits;
      set.beta = Buffer::Allocate(Device::kCpu, num_bytes).value();
      std::memset(set.beta.data(), 0, num_bytes);
    }
    EXPECT_EQ(absent.Run(*row), expected) << row->name;
  }
}

TEST(BcqLinear, ASingleSetServesEveryRequest) {
  for (const KernelRow* row : LinearRows()) {
    const Problem p(
        {.in_features = 96, .out_features = 40, .group_size = 96, .max_bits = 5, .sets = {5}},
        {8, 5, 2});
    const Problem five(
        {.in_features = 96, .out_features = 40, .group_size = 96, .max_bits = 5, .sets = {5}},
        {5, 5, 5});
    EXPECT_EQ(p.Run(*row), five.Run(*row)) << row->name;
  }
}

TEST(BcqLinear, NoRowsIsNoWork) {
  const Problem p({}, {4});
  for (const KernelRow* row : LinearRows()) EXPECT_TRUE(p.Run(*row, 0, 0).empty());
}

TEST(BcqRows, ShapesAreRefusedByPrecondition) {
  for (const KernelRow& row : BcqRows()) {
    const bool has_few = row.numeric_class == std::string("bcq_i8");
    const KernelShape good = {
        .in_features = 96, .out_features = 7, .group_size = 96, .max_bits = has_few ? 5 : 8};
    const auto reason = [&](auto change) {
      KernelShape shape = good;
      change(shape);
      return row.supports(shape);
    };
    EXPECT_EQ(row.supports(good), "") << row.name;
    EXPECT_EQ(reason([](KernelShape& s) { s.in_features = 100; }),
              "in_features 100 is not a multiple of 32");
    EXPECT_EQ(reason([](KernelShape& s) { s.in_features = 0; }),
              "in_features 0 is not a multiple of 32");
    EXPECT_EQ(reason([](KernelShape& s) { s.out_features = 0; }), "out_features 0 is not positive");
    EXPECT_EQ(reason([](KernelShape& s) { s.group_size = 48; }),
              "group_size 48 is not a multiple of 32");
    EXPECT_EQ(reason([](KernelShape& s) { s.group_size = 64; }),
              "group_size 64 does not divide in_features 96");
    EXPECT_EQ(reason([](KernelShape& s) { s.max_bits = 9; }),
              has_few ? "max_bits 9 is more than 5" : "max_bits 9 is not 1 to 8");
    EXPECT_EQ(reason([](KernelShape& s) { s.max_bits = 0; }), "max_bits 0 is not 1 to 8");
  }
}

// The rows' build functions, where this machine runs them.
struct Build {
  const char* row;
  bcq::Lut4BuildFn build;
};
std::vector<Build> Runnable(std::vector<Build> builds) {
  std::erase_if(builds, [](const Build& build) {
    const auto rows = BcqRows();
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const KernelRow& other) {
      return std::string(other.name) == build.row;
    });
    EXPECT_NE(row, rows.end()) << build.row;
    return row == rows.end() || !Table().IsRunnable(*row);
  });
  return builds;
}

// Tables of one row of x [2 * kGroup], made as row 1 of 2.
struct Tables {
  static constexpr int64_t kRows = 2, kGroups = 2;
  Tables(const std::vector<float>& x, int64_t group_size, int64_t table_bytes,
         bcq::Lut4BuildFn build)
      : buffer(Buffer::Allocate(Device::kCpu, static_cast<size_t>(kRows * kGroups * table_bytes))
                   .value()) {
    args.layout = bcq::MakeLayout(kGroups * group_size, 64, group_size, 1);
    args.group_size = group_size;
    args.num_rows = kRows;
    args.table_bytes = table_bytes;
    for (int64_t group = 0; group < kGroups; ++group) {
      build(x.data() + group * group_size, 1, group, args, buffer.data(), sums);
    }
  }
  const std::byte* Of(int64_t group) const { return buffer.data() + args.TableOffset(group, 1); }
  float Sum(int64_t group) const { return sums[group * kRows + 1]; }

  bcq::Lut4Args args = {};
  Buffer buffer;
  float sums[kGroups * kRows];
};

std::vector<float> Normals(int64_t count, float size = 1) {
  std::mt19937 engine(5);
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  for (float& value : x) value = size * normal(engine);
  return x;
}

float SignedSum(const float* in, int c) {
  const auto sign = [&](int t) { return (c >> t & 1) != 0 ? in[t] : -in[t]; };
  return ((sign(0) + sign(1)) + sign(2)) + sign(3);
}

// T[~c] = -T[c], every entry is the signed sum it stands for, and the group sum is the chain of
// T[15].
TEST(BcqLut4, TablesHoldEverySignedSum) {
  constexpr int64_t kGroup = 32;
  const std::vector<float> x = Normals(2 * kGroup);
  for (const auto& [name, build] :
       Runnable({{"bcq_linear_f32_lut4__avx2", bcq::Lut4BuildAvx2},
                 {"bcq_linear_f32_lut4__avx512", bcq::Lut4BuildAvx512}})) {
    const Tables tables(x, kGroup, bcq::Lut4TableBytes(kGroup), build);
    for (int64_t group = 0; group < Tables::kGroups; ++group) {
      float sum = 0;
      for (int64_t i = 0; i < kGroup / 4; ++i) {
        const auto* const table = reinterpret_cast<const float*>(tables.Of(group)) + i * 16;
        for (int c = 0; c < 16; ++c) {
          EXPECT_EQ(table[c], SignedSum(x.data() + group * kGroup + i * 4, c)) << name;
          EXPECT_EQ(table[c], -table[15 - c]) << name;
        }
        sum += table[15];
      }
      EXPECT_EQ(tables.Sum(group), sum) << name;
    }
  }
}

const std::vector<Build> kI8Builds = {{"bcq_linear_i8_lut4__ref", bcq::Lut4I8BuildRef},
                                      {"bcq_linear_i8_lut4__avx2", bcq::Lut4I8BuildAvx2},
                                      {"bcq_linear_i8_lut4__avx512", bcq::Lut4I8BuildAvx512}};

// Every entry is what agrees with it of the quad's 8-bit inputs, those are within half a scale, and all
// instruction sets make the same bytes.
TEST(BcqLut4I8, TablesAreTheSumsOfRoundedInputs) {
  for (const int64_t group_size : {32, 64, 96, 128, 256, 384}) {
    for (const float size : {1.0f, 1e-20f, 1e20f, 1e-32f, 0.0f}) {
      std::vector<float> x = Normals(2 * group_size, size);
      x[5] = 9 * size;                                  // one input decides its span's scale
      x[37] = x[38] = x[39] = x[36] = -7 * size;        // a quad does
      const int64_t span_inputs = bcq::SpanInputs(group_size);
      std::vector<std::byte> first;
      for (const auto& [name, build] : Runnable(kI8Builds)) {
        const Tables tables(x, group_size, bcq::Lut4I8TableBytes(group_size), build);
        for (int64_t group = 0; group < Tables::kGroups; ++group) {
          const auto* const spans = reinterpret_cast<const bcq::I8Span*>(
              tables.Of(group) + bcq::I8SpanOffset(group_size));
          std::vector<bcq::I8Span> seen(group_size / span_inputs);
          for (int64_t quad = 0; quad < group_size / 4; ++quad) {
            const auto* const table = reinterpret_cast<const uint8_t*>(
                tables.Of(group) + quad / 8 * bcq::kI8BlockBytes + bcq::I8PlaceOfTable(quad % 8));
            const int64_t span = quad * 4 / span_inputs;
            int least = 0;  // entries start there: the sum of negative inputs
            for (int t = 0; t < 4; ++t) {
              const double scale = spans[span].scale;
              const int input = table[1 << t] - table[0];
              const float exact = x[group * group_size + quad * 4 + t];
              EXPECT_LE(std::abs(input * scale - exact), 0.5001 * scale + 1e-30)
                  << name << " group " << group_size << " size " << size;
              EXPECT_LE(std::abs(input), 127);
              least += std::min(input, 0);
              seen[span].sum += input;
              seen[span].abs_sum += std::abs(input);
            }
            for (int c = 0; c < 16; ++c) {
              int entry = -least;
              for (int t = 0; t < 4; ++t) entry += (c >> t & 1) != 0 ? table[1 << t] - table[0] : 0;
              EXPECT_EQ(table[c], entry) << name << " code " << c;
            }
          }
          for (size_t span = 0; span < seen.size(); ++span) {
            EXPECT_EQ(spans[span].sum, seen[span].sum) << name;
            EXPECT_EQ(spans[span].abs_sum, seen[span].abs_sum) << name;
            EXPECT_EQ(spans[span].abs_sum > 0, size > 1e-30f) << name << " size " << size;
          }
          const std::byte* const end =
              tables.Of(group) + bcq::I8SpanOffset(group_size) + seen.size() * sizeof(bcq::I8Span);
          std::vector<std::byte> bytes(tables.Of(group), end);
          if (group > 0) continue;
          if (first.empty()) first = bytes;
          EXPECT_EQ(bytes, first) << name;
        }
      }
    }
  }
}

// Whatever the signs and sizes, four rounded inputs fit a byte: the worst are equal, or just over a half.
TEST(BcqLut4I8, QuadsFitAByte) {
  std::mt19937 engine(3);
  std::uniform_real_distribution<float> uniform(0.4f, 1.0f);
  for (int round = 0; round < 2000; ++round) {
    std::vector<float> x(64);
    for (float& value : x) value = (engine() % 2 == 0 ? 1.0f : -1.0f) * uniform(engine);
    for (const auto& [name, build] : Runnable(kI8Builds)) {
      const Tables tables(x, 32, bcq::Lut4I8TableBytes(32), build);
      for (int64_t t = 0; t < 8; ++t) {
        const auto* const table =
            reinterpret_cast<const uint8_t*>(tables.Of(0) + bcq::I8PlaceOfTable(t));
        // The code of every sign has the whole sum, its opposite nothing: neither wrapped.
        const int largest = *std::max_element(table, table + 16);
        const int smallest = *std::min_element(table, table + 16);
        int sum = 0;
        for (int i = 0; i < 4; ++i) sum += std::abs(table[1 << i] - table[0]);
        ASSERT_EQ(largest, sum) << name;
        ASSERT_EQ(smallest, 0) << name;
        ASSERT_LE(sum, 255) << name;
      }
    }
  }
}

// Units keep the sum of a group's 8-bit alphas within 127 and are at least as good as the least one.
TEST(BcqI8Scales, AlphasAreRoundedToTheBestUnit) {
  for (const RandomBcqOptions& shape : Shapes()) {
    if (shape.max_bits > bcq::kI8MaxPlanes) continue;
    const Problem p(shape, {1});
    const bcq::Layout layout = bcq::LayoutOf(p.weight);
    for (const BcqScales& set : p.weight.scales) {
      for (int64_t o = 0; o < p.out_features; ++o) {
        for (int64_t group = 0; group < layout.num_groups; ++group) {
          const int64_t lane = o % kTileLanes;
          const int64_t at = layout.AlphaOffset(o / kTileLanes, group, set.bits) + lane;
          const double unit = bcq::I8Unit(
              set.unit.As<uint16_t>()[layout.BetaOffset(o / kTileLanes, group) + lane]);
          double size = 0, error = 0;
          int sum = 0;
          for (int plane = 0; plane < set.bits; ++plane) {
            const double alpha = F16ToF32(set.alpha.As<uint16_t>()[at + plane * kTileLanes]);
            const int rounded = set.alpha_i8.As<int8_t>()[at + plane * kTileLanes];
            EXPECT_LE(std::abs(alpha - rounded * unit), 0.5001 * unit);
            error += std::abs(alpha - rounded * unit);
            size += std::abs(alpha);
            sum += std::abs(rounded);
          }
          EXPECT_LE(sum, 127);
          EXPECT_LE(error, I8WeightError(set.bits) * size + 1e-12);
        }
      }
    }
  }
}

// An input that is not finite must not turn into a number anywhere in its group.
TEST(BcqLut4Int, WhatIsNotFiniteStaysSo) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const KernelRow* row : LinearRows()) {
    if (row->numerics == Numerics::kExact) continue;
    for (const float bad : {kInf, -kInf, std::numeric_limits<float>::quiet_NaN(), 3e38f}) {
      Problem p({.in_features = 512,
                 .out_features = 70,
                 .group_size = 256,
                 .max_bits = 2,
                 .with_beta = false},
                {2, 1});
      p.x[300] = bad;
      if (bad == 3e38f) {  // sums overflow
        p.x[301] = p.x[302] = bad;
      }
      const std::vector<float> y = p.Run(*row);
      for (int64_t o = 0; o < p.out_features; ++o) {
        EXPECT_FALSE(std::isfinite(y[o])) << row->name << " input " << bad << " output " << o;
        EXPECT_TRUE(std::isfinite(y[p.YStride() + o])) << row->name << ": a neighbour is hit";
      }
    }
  }
}

TEST(BcqEmbedding, GathersTheRowAtItsOwnBits) {
  for (const KernelRow& row : BcqRows()) {
    if (row.key.op != Op::kEmbedding || !Table().IsRunnable(row)) continue;
    for (const RandomBcqOptions& shape : Shapes()) {
      const Problem p(shape, MixedBits(shape.max_bits, 5));
      std::vector<int32_t> token_ids;
      for (int t = 0; t < 5; ++t)
        token_ids.push_back(static_cast<int32_t>(t * 37 % shape.out_features));
      token_ids[4] = static_cast<int32_t>(shape.out_features - 1);
      std::vector<float> out(5 * p.XStride(), Problem::kCanary), expected(shape.in_features);
      EmbeddingArgs args;
      args.bcq = &p.weight;
      args.token_ids = token_ids.data();
      args.bits = p.bits.data();
      args.out = {out.data(), 5, shape.in_features, p.XStride()};
      ThreadPool pool(2);
      Stream stream(pool);
      std::get<EmbeddingFn>(row.fn)(args, stream);
      for (int64_t t = 0; t < 5; ++t) {
        DequantizeRow(p.random.canonical, p.weight.ScalesFor(p.bits[t]).bits, token_ids[t],
                      std::span<float>(expected));
        EXPECT_TRUE(SameBits(out.data() + t * p.XStride(), expected.data(), shape.in_features))
            << row.name;
        EXPECT_EQ(out[t * p.XStride() + shape.in_features], Problem::kCanary);
      }
    }
  }
}

}  // namespace
}  // namespace bitdial::kernels
