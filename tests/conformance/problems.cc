#include "tests/conformance/problems.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <optional>
#include <random>

#include "kernels/formats/bcq/canonical.h"
#include "kernels/formats/bcq/lut4.h"
#include "kernels/formats/bcq/prepare.h"
#include "kernels/formats/int8/from_bcq.h"
#include "tests/kernels/bcq_random.h"
#include "tests/testing/guarded_memory.h"

namespace bitdial::kernels {
namespace {

using testing::GuardedArray;
using Floats = std::shared_ptr<GuardedArray<float>>;

constexpr double kU = 0x1p-24;
constexpr float kCanary = -7777.25f;

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  float Normal() { return normal_(engine_); }
  int64_t Below(int64_t bound) {
    return static_cast<int64_t>(engine_() % static_cast<uint64_t>(bound));
  }
  Floats Normals(int64_t count, float size = 1.0f) {
    auto values = std::make_shared<GuardedArray<float>>(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) (*values)[i] = size * Normal();
    return values;
  }
  std::mt19937& engine() { return engine_; }

 private:
  std::mt19937 engine_;
  std::normal_distribution<float> normal_;
};

// A row-major matrix whose last element ends the memory: rows are `gap` elements apart.
struct Rows {
  Floats memory;
  int64_t cols;
  int64_t stride;
  Matrix<const float> Range(int64_t begin, int64_t count) const {
    return {memory->data() + begin * stride, count, cols, stride};
  }
};
Rows RandomRows(Random& random, int64_t rows, int64_t cols, int64_t gap, float size = 1.0f) {
  const int64_t stride = cols + gap;
  return {random.Normals((rows - 1) * stride + cols, size), cols, stride};
}

// Outputs with canaries between the rows; Take() checks them and gives the rows.
class Output {
 public:
  Output(int64_t rows, int64_t cols, int64_t gap)
      : rows_(rows), cols_(cols), stride_(cols + gap), memory_((rows - 1) * stride_ + cols) {
    std::fill_n(memory_.data(), memory_.size(), kCanary);
  }
  Matrix<float> matrix() { return {memory_.data(), rows_, cols_, stride_}; }
  std::vector<float> Take() {
    std::vector<float> values;
    for (int64_t row = 0; row < rows_; ++row) {
      const float* data = memory_.data() + row * stride_;
      values.insert(values.end(), data, data + cols_);
      for (int64_t i = cols_; i < stride_ && row + 1 < rows_; ++i) {
        EXPECT_EQ(data[i], kCanary) << "written between the rows, after row " << row;
      }
    }
    return values;
  }

 private:
  int64_t rows_, cols_, stride_;
  GuardedArray<float> memory_;
};

// ---------------------------------------------------------------- weights, one factory a format

// A weight of any format, and what tells how large an error may grow: magnitude[o * in + i] bounds
// |W[o, i]| before cancellation (BCQ: the sum of its |alpha| and |beta|).
struct Weight {
  std::string description;
  KernelShape shape;
  DenseWeight dense;
  BcqWeight bcq;
  std::optional<Int8Weight> int8;  // in place of bcq
  std::vector<double> magnitude;
  int max_bits = 0;
  std::shared_ptr<void> owner;
};

std::shared_ptr<Weight> MakeDense(Random& random, DType dtype, int64_t in, int64_t out) {
  auto weight = std::make_shared<Weight>();
  weight->description = fmt::format("{} in {} out {}", Name(dtype), in, out);
  weight->shape = {.in_features = in, .out_features = out, .weight_dtype = dtype};
  auto bytes =
      std::make_shared<GuardedArray<std::byte>>(static_cast<size_t>(in * out) * SizeOf(dtype));
  for (int64_t i = 0; i < in * out; ++i) {
    const float value = random.Normal();
    const uint16_t half = dtype == DType::kF16
                              ? F32ToF16(value)
                              : static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
    const float stored = dtype == DType::kF32   ? value
                         : dtype == DType::kF16 ? F16ToF32(half)
                                                : BF16ToF32(half);
    std::byte* to = bytes->data() + static_cast<size_t>(i) * SizeOf(dtype);
    std::memcpy(to, dtype == DType::kF32 ? static_cast<const void*>(&value) : &half, SizeOf(dtype));
    weight->magnitude.push_back(std::abs(stored));
  }
  weight->dense.w = {bytes->data(), dtype, {out, in}};
  weight->owner = bytes;
  return weight;
}

std::shared_ptr<Weight> MakeBcq(Random& random, const RandomBcqOptions& options) {
  auto weight = std::make_shared<Weight>();
  const int64_t in = options.in_features, out = options.out_features;
  weight->description =
      fmt::format("bcq{} in {} out {} group {}", options.max_bits, in, out, options.group_size);
  weight->shape = {.in_features = in,
                   .out_features = out,
                   .group_size = options.group_size,
                   .max_bits = options.max_bits};
  RandomBcqOptions seeded = options;
  seeded.seed = static_cast<uint32_t>(random.Below(1 << 30));
  auto canonical = std::make_shared<RandomBcq>(seeded);
  ThreadPool pool(1);
  weight->bcq = PrepareForEveryRow(canonical->canonical, pool);
  weight->max_bits = options.max_bits;
  // The largest over the sets, which bounds the set any row uses.
  weight->magnitude.assign(in * out, 0.0);
  for (const CanonicalScales& set : canonical->canonical.scales) {
    for (int64_t o = 0; o < out; ++o) {
      for (int64_t i = 0; i < in; ++i) {
        const int64_t group = i / options.group_size;
        double size = 0;
        for (int plane = 0; plane < set.bits; ++plane) {
          size +=
              std::abs(F16ToF32(set.alpha.As<uint16_t>()[(group * set.bits + plane) * out + o]));
        }
        if (set.beta.data != nullptr)
          size += std::abs(F16ToF32(set.beta.As<uint16_t>()[group * out + o]));
        weight->magnitude[o * in + i] = std::max(weight->magnitude[o * in + i], size);
      }
    }
  }
  weight->owner = canonical;
  return weight;
}

// Of 8 bits. Its reference rounds as it does: no error is allowed but that of fp32.
std::shared_ptr<Weight> MakeInt8(Random& random, int64_t in, int64_t out, int64_t span) {
  auto weight = MakeBcq(random, {.in_features = in,
                                 .out_features = out,
                                 .group_size = span,
                                 .max_bits = 8,
                                 .sets = {8},
                                 .with_beta = random.Below(2) == 0});
  ThreadPool pool(1);
  weight->int8 = MakeInt8(weight->bcq, pool).value();
  weight->shape.max_bits = 0;
  weight->description = fmt::format("int8 in {} out {} span {}", in, out, span);
  return weight;
}

std::vector<uint8_t> DescendingBits(int max_bits, int64_t num_rows) {
  std::vector<uint8_t> bits(num_rows);
  for (int64_t row = 0; row < num_rows; ++row) {
    bits[row] = static_cast<uint8_t>(max_bits - row * max_bits / num_rows);
  }
  return bits;
}

// ---------------------------------------------------------------- linear

// The largest |entry| of the tables of 4 inputs over x [span].
double LargestEntry(const float* x, int64_t span) {
  double largest = 0;
  for (int64_t i = 0; i < span; i += bcq::kTableInputs) {
    double size = 0;
    for (int64_t t = 0; t < bcq::kTableInputs; ++t) size += std::abs(x[i + t]);
    largest = std::max(largest, size);
  }
  return largest;
}

// What rounding a row of x may add, for each of its spans: made once for all outputs.
struct RowRounding {
  std::vector<double> int8, int16;

  RowRounding(const float* x, int64_t in, int64_t span) {
    for (int64_t i = 0; i < in; i += span) {
      int8.push_back(I8InputError(x + i, span));
      // Half a scale for each lookup; 1.01 covers the roundings of the scale itself.
      int16.push_back(1.01 * static_cast<double>(span / bcq::kTableInputs) * 0.5 *
                      LargestEntry(x + i, span) / 1023);
    }
  }
};

// bcq_i8: inputs are off by half a scale of their span, weights by what their alphas are.
double Int8Bound(const Weight& weight, const RowRounding& rounding, const float* x, int64_t o) {
  const int64_t in = weight.shape.in_features, span = bcq::SpanInputs(weight.shape.group_size);
  const double of_weight = I8WeightError(weight.max_bits);
  double bound = 0;
  for (int64_t i = 0; i < in; ++i) {
    const double input = rounding.int8[static_cast<size_t>(i / span)];
    bound += weight.magnitude[o * in + i] * (input + of_weight * (std::abs(x[i]) + input));
  }
  return bound;
}

// lut4_i16: every lookup of a span is off by at most half of its scale, largest / 1023, and is
// multiplied by the scales of the planes.
double Int16Bound(const Weight& weight, const RowRounding& rounding, int64_t o) {
  const int64_t in = weight.shape.in_features, span = bcq::SpanInputs(weight.shape.group_size);
  double bound = 0;
  for (int64_t i = 0; i < in; i += span) {
    bound += rounding.int16[static_cast<size_t>(i / span)] * weight.magnitude[o * in + i];
  }
  return bound;
}

// Any order of n products and sums in f32 is off by at most (n + 2) u sum |x w| (Higham, Accuracy
// and Stability, 3.5), bias included. BCQ adds the roundings of bits + 1 scale terms a group and of
// a rebuilt weight.
Problem LinearProblem(std::shared_ptr<Weight> weight, int64_t num_rows, bool with_bias,
                      Random& random) {
  const int64_t in = weight->shape.in_features, out = weight->shape.out_features;
  auto x = std::make_shared<Rows>(RandomRows(random, num_rows, in, 3));
  Floats bias = with_bias ? random.Normals(out) : nullptr;
  auto bits = std::make_shared<std::vector<uint8_t>>(DescendingBits(weight->max_bits, num_rows));

  Problem problem;
  problem.description =
      fmt::format("{} rows {}{}", weight->description, num_rows, with_bias ? " bias" : "");
  problem.shape = weight->shape;
  problem.num_rows = num_rows;
  problem.row_width = out;
  double roundings = static_cast<double>(in) + 2;
  if (weight->max_bits > 0) {
    const auto groups = static_cast<double>(in / weight->shape.group_size);
    roundings += weight->max_bits + groups * (weight->max_bits + 1);
  }
  for (int64_t row = 0; row < num_rows; ++row) {
    const float* const x_row = x->Range(row, 1).data;
    const bool is_bcq = weight->max_bits > 0;
    const RowRounding rounding(x_row, is_bcq ? in : 0,
                               is_bcq ? bcq::SpanInputs(weight->shape.group_size) : 1);
    for (int64_t o = 0; o < out; ++o) {
      double size = with_bias ? std::abs((*bias)[o]) : 0.0;
      for (int64_t i = 0; i < in; ++i) {
        size += std::abs(x_row[i]) * weight->magnitude[o * in + i];
      }
      problem.bounds.push_back(roundings * kU * size);
      if (!is_bcq) continue;
      const bool is_rounded = weight->int8.has_value();  // by its reference too
      problem.int8_bounds.push_back(is_rounded ? 0 : Int8Bound(*weight, rounding, x_row, o));
      problem.int16_bounds.push_back(Int16Bound(*weight, rounding, o));
    }
  }
  problem.run = [=](const KernelRow& row, Stream& stream, int64_t begin, int64_t count) {
    Output y(count, out, 5);
    LinearArgs args;
    args.dense = weight->max_bits == 0 ? &weight->dense : nullptr;
    args.bcq = weight->max_bits > 0 && !weight->int8.has_value() ? &weight->bcq : nullptr;
    args.int8 = weight->int8.has_value() ? &*weight->int8 : nullptr;
    args.x = x->Range(begin, count);
    args.y = y.matrix();
    args.bits = bits->data() + begin;
    args.bias = bias != nullptr ? bias->data() : nullptr;
    std::get<LinearFn>(row.fn)(args, stream);
    return y.Take();
  };
  return problem;
}

// Exact for dense; one rounding for each of a weight's terms for BCQ.
Problem EmbeddingProblem(std::shared_ptr<Weight> weight, int64_t num_rows, Random& random) {
  const int64_t hidden = weight->shape.in_features, vocab = weight->shape.out_features;
  auto ids = std::make_shared<GuardedArray<int32_t>>(static_cast<size_t>(num_rows));
  for (int64_t row = 0; row < num_rows; ++row)
    (*ids)[row] = static_cast<int32_t>(random.Below(vocab));
  (*ids)[0] = static_cast<int32_t>(vocab - 1);
  auto bits = std::make_shared<std::vector<uint8_t>>(DescendingBits(weight->max_bits, num_rows));

  Problem problem;
  problem.description = fmt::format("{} rows {}", weight->description, num_rows);
  problem.shape = weight->shape;
  problem.num_rows = num_rows;
  problem.row_width = hidden;
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t i = 0; i < hidden; ++i) {
      problem.bounds.push_back((weight->max_bits == 0 ? 0 : weight->max_bits + 1) * kU *
                               weight->magnitude[(*ids)[row] * hidden + i]);
    }
  }
  problem.run = [=](const KernelRow& row, Stream& stream, int64_t begin, int64_t count) {
    Output out(count, hidden, 2);
    EmbeddingArgs args;
    args.dense = weight->max_bits == 0 ? &weight->dense : nullptr;
    args.bcq = weight->max_bits > 0 ? &weight->bcq : nullptr;
    args.token_ids = ids->data() + begin;
    args.bits = bits->data() + begin;
    args.out = out.matrix();
    std::get<EmbeddingFn>(row.fn)(args, stream);
    return out.Take();
  };
  return problem;
}

// ---------------------------------------------------------------- row-wise ops

// The sum of squares has ceil(n / 16) + 5 roundings in any of our orders, halved by the root; then
// eps, the root, the division and two products: all relative.
Problem RmsNormProblem(int64_t hidden, int64_t num_rows, Random& random) {
  auto x = std::make_shared<Rows>(RandomRows(random, num_rows, hidden, 1));
  Floats weight = random.Normals(hidden);
  constexpr float kEps = 1e-5f;
  Problem problem;
  problem.description = fmt::format("hidden {} rows {}", hidden, num_rows);
  problem.num_rows = num_rows;
  problem.row_width = hidden;
  const double roundings = (static_cast<double>((hidden + 15) / 16) + 5) / 2 + 7;
  for (int64_t row = 0; row < num_rows; ++row) {
    const float* in = x->Range(row, 1).data;
    double squares = 0;
    for (int64_t i = 0; i < hidden; ++i) squares += static_cast<double>(in[i]) * in[i];
    const double scale = 1 / std::sqrt(squares / static_cast<double>(hidden) + kEps);
    for (int64_t i = 0; i < hidden; ++i) {
      problem.bounds.push_back(roundings * kU * std::abs(in[i] * scale * (*weight)[i]));
    }
  }
  problem.run = [=](const KernelRow& row, Stream& stream, int64_t begin, int64_t count) {
    Output out(count, hidden, 4);
    std::get<RmsNormFn>(row.fn)({x->Range(begin, count), out.matrix(), weight->data(), kEps},
                                stream);
    return out.Take();
  };
  return problem;
}

// With m = ceil(n / 16) + 5 roundings of a sum of n in any of our orders: the mean is off by
// e = (m + 1) u mean|x|, and so is every distance d from it, beside its own rounding. The mean's
// error changes the variance by e^2 alone (distances sum to 0); its sum is off by (m + 3) u of
// itself, halved by the root; then eps, the root, the division and a product. The last step rounds
// once, and the reference once.
Problem LayerNormProblem(int64_t hidden, int64_t num_rows, float offset, Random& random) {
  auto x = std::make_shared<Rows>(RandomRows(random, num_rows, hidden, 1));
  for (size_t i = 0; i < x->memory->size(); ++i) (*x->memory)[i] += offset;
  Floats weight = random.Normals(hidden), bias = random.Normals(hidden);
  constexpr float kEps = 1e-5f;
  Problem problem;
  problem.description = fmt::format("hidden {} rows {} around {}", hidden, num_rows, offset);
  problem.num_rows = num_rows;
  problem.row_width = hidden;
  const auto n = static_cast<double>(hidden);
  const double m = static_cast<double>((hidden + 15) / 16) + 5;
  for (int64_t row = 0; row < num_rows; ++row) {
    const float* in = x->Range(row, 1).data;
    double mean = 0, size = 0, variance = 0;
    for (int64_t i = 0; i < hidden; ++i) mean += in[i] / n, size += std::abs(in[i]) / n;
    for (int64_t i = 0; i < hidden; ++i) variance += (in[i] - mean) * (in[i] - mean) / n;
    const double scale = 1 / std::sqrt(variance + kEps);
    const double mean_error = (m + 1) * kU * size;
    const double scale_error = (m + 3) * kU / 2 + 4 * kU + mean_error * mean_error * scale * scale;
    for (int64_t i = 0; i < hidden; ++i) {
      const double distance = std::abs(in[i] - mean), factor = scale * std::abs((*weight)[i]);
      problem.bounds.push_back(factor * (mean_error + distance * (scale_error + kU)) +
                               2 * kU * (factor * distance + std::abs((*bias)[i])));
    }
  }
  problem.run = [=](const KernelRow& row, Stream& stream, int64_t begin, int64_t count) {
    Output out(count, hidden, 4);
    std::get<LayerNormFn>(row.fn)(
        {x->Range(begin, count), out.matrix(), weight->data(), bias->data(), kEps}, stream);
    return out.Take();
  };
  return problem;
}

// Two products and a sum, and the reference's own rounding.
Problem RopeProblem(int64_t num_heads, int64_t head_dim, int64_t num_rows, Random& random) {
  constexpr int64_t kMaxPositions = 40;
  const int64_t half = head_dim / 2;
  auto x = std::make_shared<Rows>(RandomRows(random, num_rows, num_heads * head_dim, 3));
  auto cos = std::make_shared<GuardedArray<float>>(static_cast<size_t>(kMaxPositions * half));
  auto sin = std::make_shared<GuardedArray<float>>(static_cast<size_t>(kMaxPositions * half));
  for (int64_t p = 0; p < kMaxPositions; ++p) {
    for (int64_t c = 0; c < half; ++c) {
      const double angle = static_cast<double>(p) *
                           std::pow(10000.0, -static_cast<double>(c) / static_cast<double>(half));
      (*cos)[p * half + c] = static_cast<float>(std::cos(angle));
      (*sin)[p * half + c] = static_cast<float>(std::sin(angle));
    }
  }
  auto positions = std::make_shared<std::vector<int32_t>>();
  for (int64_t row = 0; row < num_rows; ++row) {
    positions->push_back(static_cast<int32_t>(random.Below(kMaxPositions)));
  }
  positions->front() = kMaxPositions - 1;

  Problem problem;
  problem.description = fmt::format("heads {} head_dim {} rows {}", num_heads, head_dim, num_rows);
  problem.shape = {.num_heads = num_heads, .head_dim = head_dim};
  problem.num_rows = num_rows;
  problem.row_width = num_heads * head_dim;
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t i = 0; i < problem.row_width; ++i) {
      const int64_t c = i % head_dim % half, head = i / head_dim;
      const float* pair = x->Range(row, 1).data + head * head_dim + c;
      problem.bounds.push_back(3 * kU * (std::abs(pair[0]) + std::abs(pair[half])));
    }
  }
  problem.run = [=](const KernelRow& row, Stream& stream, int64_t begin, int64_t count) {
    Output out(count, num_heads * head_dim, 3);
    for (int64_t r = 0; r < count; ++r) {
      std::copy_n(x->Range(begin + r, 1).data, num_heads * head_dim, out.matrix().Row(r));
    }
    std::get<RopeFn>(row.fn)(
        {out.matrix(), num_heads, head_dim, cos->data(), sin->data(), positions->data() + begin},
        stream);
    return out.Take();
  };
  return problem;
}

// e^z to 2 ulp (4 u), then sum, division, product and the reference: 8 u. Where e^-gate leaves the
// range of f32 the value is below 88.8 e^-88.7 |up| < 1e-36 |up| or gate * up itself.
Problem SiluMulProblem(int64_t width, int64_t num_rows, Random& random) {
  auto gate = std::make_shared<Rows>(RandomRows(random, num_rows, width, 1, 4.0f));
  auto up = std::make_shared<Rows>(RandomRows(random, num_rows, width, 2));
  const float extremes[] = {0.0f, -0.0f, 87.5f, -87.5f, 88.9f, -88.9f, 1e4f, -1e4f, 1e-30f};
  for (int64_t i = 0; i < std::min<int64_t>(width, std::size(extremes)); ++i) {
    (*gate->memory)[i] = extremes[i];
  }
  Problem problem;
  problem.description = fmt::format("width {} rows {}", width, num_rows);
  problem.num_rows = num_rows;
  problem.row_width = width;
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t i = 0; i < width; ++i) {
      const double z = gate->Range(row, 1).data[i], u = std::abs(up->Range(row, 1).data[i]);
      problem.bounds.push_back(8 * kU * std::abs(z / (1 + std::exp(-z)) * u) + 1e-36 * u);
    }
  }
  problem.run = [=](const KernelRow& row, Stream& stream, int64_t begin, int64_t count) {
    Output out(count, width, 3);
    std::get<SiluMulFn>(row.fn)({gate->Range(begin, count), up->Range(begin, count), out.matrix()},
                                stream);
    return out.Take();
  };
  return problem;
}

// relu: exact. gelu: |x| / 2 times the 1.5e-7 of its erfc and the roundings of that (polynomial,
// division, 2 ulp of exp, x^2 / 2 in the exponent, which peak below 16 u together), then two
// roundings of at most |x| and the reference's own.
Problem ActivationProblem(Op op, int64_t width, int64_t num_rows, Random& random) {
  auto x = std::make_shared<Rows>(RandomRows(random, num_rows, width, 1, 2.5f));
  const float extremes[] = {0.0f,  -0.0f, 1e-30f, -1e-30f, 5.5f,
                            -5.5f, 13.2f, -13.2f, 1e20f,   -1e20f};
  for (int64_t i = 0; i < std::min<int64_t>(width, std::size(extremes)); ++i) {
    (*x->memory)[i] = extremes[i];
  }
  Problem problem;
  problem.description = fmt::format("width {} rows {}", width, num_rows);
  problem.num_rows = num_rows;
  problem.row_width = width;
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t i = 0; i < width; ++i) {
      const double size = std::abs(x->Range(row, 1).data[i]);
      problem.bounds.push_back(op == Op::kRelu ? 0 : size * (1.5e-7 / 2 + (8 + 3) * kU));
    }
  }
  problem.run = [=](const KernelRow& row, Stream& stream, int64_t begin, int64_t count) {
    Output out(count, width, 3);
    if (op == Op::kRelu) {
      std::get<ReluFn>(row.fn)({x->Range(begin, count), out.matrix()}, stream);
    } else {
      std::get<GeluFn>(row.fn)({x->Range(begin, count), out.matrix()}, stream);
    }
    return out.Take();
  };
  return problem;
}

// Rounded once everywhere.
Problem AddProblem(int64_t width, int64_t num_rows, Random& random) {
  auto x = std::make_shared<Rows>(RandomRows(random, num_rows, width, 1));
  auto y = std::make_shared<Rows>(RandomRows(random, num_rows, width, 2));
  Problem problem;
  problem.description = fmt::format("width {} rows {}", width, num_rows);
  problem.num_rows = num_rows;
  problem.row_width = width;
  problem.bounds.assign(num_rows * width, 0.0);
  problem.run = [=](const KernelRow& row, Stream& stream, int64_t begin, int64_t count) {
    Output out(count, width, 3);
    for (int64_t r = 0; r < count; ++r)
      std::copy_n(y->Range(begin + r, 1).data, width, out.matrix().Row(r));
    std::get<AddFn>(row.fn)({x->Range(begin, count), out.matrix()}, stream);
    return out.Take();
  };
  return problem;
}

// ---------------------------------------------------------------- KV

struct KvShape {
  int64_t num_heads = 1;
  int64_t num_kv_heads = 1;
  int64_t head_dim = 16;
  int32_t block_tokens = 16;
  std::vector<int32_t> lengths = {1};  // tokens of each sequence in the cache
};

// A paged cache of random K and V in shuffled blocks, a hole between two blocks' bytes.
class Cache {
 public:
  Cache(KvFormat format, const KvShape& shape, Random& random) : format_(format), shape_(shape) {
    const int64_t longest = *std::max_element(shape.lengths.begin(), shape.lengths.end());
    max_blocks_ = static_cast<int32_t>((longest + shape.block_tokens - 1) / shape.block_tokens + 1);
    const auto num_seqs = static_cast<int32_t>(shape.lengths.size());
    tables_.resize(max_blocks_ * num_seqs);
    std::iota(tables_.begin(), tables_.end(), 0);
    std::shuffle(tables_.begin(), tables_.end(), random.engine());
    const int64_t elements = 2 * shape.num_kv_heads * shape.block_tokens * shape.head_dim;
    block_bytes_ = elements * ElementBytes();
    stride_ = block_bytes_ + 2 * ElementBytes();
    const auto num_blocks = static_cast<int64_t>(tables_.size());
    bytes_ = std::make_unique<GuardedArray<std::byte>>((num_blocks - 1) * stride_ + block_bytes_);
    for (int64_t block = 0; block < num_blocks; ++block) {
      for (int64_t i = 0; i < elements; ++i)
        Set(block * stride_ + i * ElementBytes(), random.Normal());
    }
  }

  KvSegment segment() const {
    return {bytes_->data(),      stride_,        shape_.block_tokens, tables_.data(), max_blocks_,
            shape_.num_kv_heads, shape_.head_dim};
  }
  const KvShape& shape() const { return shape_; }
  GuardedArray<std::byte>& bytes() { return *bytes_; }

  // Byte offset of channel 0 of a token's K (is_v false) or V.
  int64_t Offset(int32_t seq, int64_t token, int64_t kv_head, bool is_v) const {
    const int64_t block = tables_[seq * max_blocks_ + token / shape_.block_tokens];
    const int64_t head = kv_head + (is_v ? shape_.num_kv_heads : 0);
    return block * stride_ + (head * shape_.block_tokens + token % shape_.block_tokens) *
                                 shape_.head_dim * ElementBytes();
  }
  float Get(int64_t offset) const {
    if (format_ == KvFormat::kF32) return Read<float>(offset);
    return F16ToF32(Read<uint16_t>(offset));
  }
  void Set(int64_t offset, float value) {
    const uint16_t half = F32ToF16(value);
    std::memcpy(bytes_->data() + offset,
                format_ == KvFormat::kF32 ? static_cast<const void*>(&value) : &half,
                ElementBytes());
  }
  int64_t ElementBytes() const { return format_ == KvFormat::kF32 ? 4 : 2; }

 private:
  template <typename T>
  T Read(int64_t offset) const {
    T value;
    std::memcpy(&value, bytes_->data() + offset, sizeof(T));
    return value;
  }

  KvFormat format_;
  KvShape shape_;
  int32_t max_blocks_;
  int64_t block_bytes_;
  int64_t stride_;
  std::vector<int32_t> tables_;
  std::unique_ptr<GuardedArray<std::byte>> bytes_;
};

// Rows of a mixed step: of each sequence its last few tokens, in the order of the sequences.
struct StepRows {
  std::vector<int32_t> seq_idx;
  std::vector<int32_t> positions;
};
StepRows LastTokens(const KvShape& shape, int32_t most) {
  StepRows rows;
  for (size_t seq = 0; seq < shape.lengths.size(); ++seq) {
    const int32_t count = std::min(shape.lengths[seq], seq % 2 == 0 ? most : 1);
    for (int32_t i = shape.lengths[seq] - count; i < shape.lengths[seq]; ++i) {
      rows.seq_idx.push_back(static_cast<int32_t>(seq));
      rows.positions.push_back(i);
    }
  }
  return rows;
}

std::string Describe(KvFormat format, const KvShape& shape, size_t num_rows) {
  std::string lengths;
  for (int32_t length : shape.lengths)
    lengths += (lengths.empty() ? "" : "+") + std::to_string(length);
  return fmt::format("kv {} heads {}/{} head_dim {} block {} cached {} rows {}", Name(format),
                     shape.num_heads, shape.num_kv_heads, shape.head_dim, shape.block_tokens,
                     lengths, num_rows);
}

KernelShape ShapeOf(const KvShape& shape) {
  return {
      .num_heads = shape.num_heads, .num_kv_heads = shape.num_kv_heads, .head_dim = shape.head_dim};
}

// One rounding to the element type everywhere. The output is what lies in the rows' slots
// afterwards.
Problem KvAppendProblem(KvFormat format, const KvShape& shape, Random& random) {
  const int64_t width = shape.num_kv_heads * shape.head_dim;
  auto cache = std::make_shared<Cache>(format, shape, random);
  auto step = std::make_shared<StepRows>(LastTokens(shape, 9));
  const auto num_rows = static_cast<int64_t>(step->positions.size());
  auto k = std::make_shared<Rows>(RandomRows(random, num_rows, width, 1));
  auto v = std::make_shared<Rows>(RandomRows(random, num_rows, width, 2));
  (*k->memory)[0] = 1e6f;   // overflows f16
  (*v->memory)[0] = 3e-7f;  // subnormal in f16

  Problem problem;
  problem.description = Describe(format, shape, num_rows);
  problem.shape = ShapeOf(shape);
  problem.num_rows = num_rows;
  problem.row_width = 2 * width;
  problem.bounds.assign(num_rows * 2 * width, 0.0);
  problem.run = [=](const KernelRow& row, Stream& stream, int64_t begin, int64_t count) {
    GuardedArray<std::byte>& bytes = cache->bytes();
    const std::vector<std::byte> before(bytes.data(), bytes.data() + bytes.size());
    std::get<KvAppendFn>(row.fn)(
        {k->Range(begin, count), v->Range(begin, count), step->seq_idx.data() + begin,
         step->positions.data() + begin, cache->segment()},
        stream);
    std::vector<float> written;
    for (int64_t r = begin; r < begin + count; ++r) {
      for (bool is_v : {false, true}) {
        for (int64_t head = 0; head < shape.num_kv_heads; ++head) {
          const int64_t offset = cache->Offset(step->seq_idx[r], step->positions[r], head, is_v);
          for (int64_t c = 0; c < shape.head_dim; ++c) {
            written.push_back(cache->Get(offset + c * cache->ElementBytes()));
          }
          std::memcpy(bytes.data() + offset, before.data() + offset,
                      shape.head_dim * cache->ElementBytes());
        }
      }
    }
    EXPECT_EQ(std::memcmp(bytes.data(), before.data(), before.size()), 0)
        << "wrote outside the rows' slots";
    return written;
  };
  return problem;
}

// Let d bound the error of a score: (head_dim + 2) u scale sum |q k|. A weight e^(s - m) is off by
// the factor 1 + d, by u |s - m| from the subtraction (at most 2 max |s|) and by 4 u from exp; each
// of the tiles passed adds exp and a product. So the weighted mean of v is off by 2 (that) + (keys
// + 3) u times the weighted mean of |v|.
Problem AttentionProblem(KvFormat format, const KvShape& shape, int32_t most_rows, Random& random) {
  const int64_t width = shape.num_heads * shape.head_dim;
  auto cache = std::make_shared<Cache>(format, shape, random);
  auto step = std::make_shared<StepRows>(LastTokens(shape, most_rows));
  const auto num_rows = static_cast<int64_t>(step->positions.size());
  auto q = std::make_shared<Rows>(RandomRows(random, num_rows, width, 1));
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(shape.head_dim)));

  Problem problem;
  problem.description = Describe(format, shape, num_rows);
  problem.shape = ShapeOf(shape);
  problem.num_rows = num_rows;
  problem.row_width = width;
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t head = 0; head < shape.num_heads; ++head) {
      const int64_t kv_head = head / (shape.num_heads / shape.num_kv_heads);
      const float* query = q->Range(row, 1).data + head * shape.head_dim;
      const int64_t num_keys = step->positions[row] + 1;
      std::vector<double> scores;
      double largest_sum = 0, largest_score = 0;
      for (int64_t n = 0; n < num_keys; ++n) {
        const int64_t offset = cache->Offset(step->seq_idx[row], n, kv_head, false);
        double dot = 0, size = 0;
        for (int64_t c = 0; c < shape.head_dim; ++c) {
          const double product =
              static_cast<double>(query[c]) * cache->Get(offset + c * cache->ElementBytes());
          dot += product;
          size += std::abs(product);
        }
        scores.push_back(dot * scale);
        largest_sum = std::max(largest_sum, size * scale);
        largest_score = std::max(largest_score, std::abs(dot * scale));
      }
      const double max_score = *std::max_element(scores.begin(), scores.end());
      double sum = 0;
      std::vector<double> mean(shape.head_dim);
      for (int64_t n = 0; n < num_keys; ++n) {
        const double weight = std::exp(scores[n] - max_score);
        const int64_t offset = cache->Offset(step->seq_idx[row], n, kv_head, true);
        sum += weight;
        for (int64_t c = 0; c < shape.head_dim; ++c) {
          mean[c] += weight * std::abs(cache->Get(offset + c * cache->ElementBytes()));
        }
      }
      const double tiles = static_cast<double>(num_keys) / 64 + 1;
      const double weight_error = kU * ((static_cast<double>(shape.head_dim) + 2) * largest_sum +
                                        2 * largest_score + 4 + 6 * tiles);
      for (double m : mean) {
        problem.bounds.push_back((2 * weight_error + (static_cast<double>(num_keys) + 3) * kU) * m /
                                 sum);
      }
    }
  }
  problem.run = [=](const KernelRow& row, Stream& stream, int64_t begin, int64_t count) {
    Output out(count, width, 3);
    std::get<AttentionFn>(row.fn)(
        {q->Range(begin, count), out.matrix(), shape.num_heads, scale, step->seq_idx.data() + begin,
         step->positions.data() + begin, cache->segment()},
        stream);
    return out.Take();
  };
  return problem;
}

// ---------------------------------------------------------------- sweeps

constexpr int64_t kWidths[] = {1,  2,  3,  7,  8,  9,  15, 16, 17, 18,  23,  24,  25,
                               31, 32, 33, 47, 48, 49, 63, 64, 65, 100, 256, 257, 513};
constexpr int64_t kRowCounts[] = {1, 2, 3, 4, 5, 6, 7, 8, 13, 17};
constexpr DType kDenseTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

// The i-th of a sweep's row counts: cycles, so that widths and counts mix.
int64_t RowCount(size_t i) { return kRowCounts[i % std::size(kRowCounts)]; }

void AddDense(const KernelKey& key, std::vector<MakeProblem>& problems) {
  const auto add = [&](DType dtype, int64_t in, int64_t out, int64_t rows) {
    const auto seed = static_cast<uint32_t>(problems.size() + 1);
    problems.push_back([=] {
      Random random(seed);
      auto weight = MakeDense(random, dtype, in, out);
      return key.op == Op::kLinear ? LinearProblem(weight, rows, seed % 2 == 0, random)
                                   : EmbeddingProblem(weight, rows, random);
    });
  };
  for (DType dtype : kDenseTypes) {
    for (size_t i = 0; i < std::size(kWidths); ++i) {
      add(dtype, kWidths[i], 5, RowCount(i));
      add(dtype, 33, kWidths[i], RowCount(i + 3));
      add(dtype, kWidths[i], kWidths[std::size(kWidths) - 1 - i], RowCount(i + 5));
    }
    add(dtype, 600, 130, 200);  // several k blocks, output tiles and row chunks
  }
}

void AddBcq(const KernelKey& key, std::vector<MakeProblem>& problems) {
  const auto add = [&](const RandomBcqOptions& options, int64_t rows) {
    const auto seed = static_cast<uint32_t>(problems.size() + 1);
    problems.push_back([=] {
      Random random(seed);
      auto weight = MakeBcq(random, options);
      return key.op == Op::kLinear ? LinearProblem(weight, rows, seed % 2 == 0, random)
                                   : EmbeddingProblem(weight, rows, random);
    });
  };
  for (size_t i = 0; i < std::size(kWidths); ++i) {
    const int max_bits = static_cast<int>(i % 8) + 1;
    add({.in_features = 64, .out_features = kWidths[i], .group_size = 32, .max_bits = max_bits},
        RowCount(i));
    add({.in_features = 192, .out_features = kWidths[i], .group_size = 96, .max_bits = max_bits},
        RowCount(i + 3));
  }
  for (int64_t in = 32; in <= 288; in += 32) {
    add({.in_features = in, .out_features = 70, .group_size = in, .max_bits = 3},
        RowCount(in / 32));
  }
  add({.in_features = 576, .out_features = 130, .group_size = 64, .max_bits = 4}, 200);
}

void AddRowWise(const KernelKey& key, std::vector<MakeProblem>& problems) {
  for (size_t i = 0; i < std::size(kWidths); ++i) {
    for (int64_t rows : {RowCount(i), RowCount(i + 4), int64_t{35}}) {
      const int64_t width = kWidths[i];
      const auto seed = static_cast<uint32_t>(problems.size() + 1);
      problems.push_back([=] {
        Random random(seed);
        if (key.op == Op::kRmsNorm) return RmsNormProblem(width, rows, random);
        if (key.op == Op::kLayerNorm) {
          return LayerNormProblem(width, rows, seed % 3 == 0 ? 100.0f : 0.0f, random);
        }
        if (key.op == Op::kRelu || key.op == Op::kGelu) {
          return ActivationProblem(key.op, width, rows, random);
        }
        if (key.op == Op::kRope) return RopeProblem(1 + rows % 3, 2 * width, rows, random);
        if (key.op == Op::kSiluMul) return SiluMulProblem(width, rows, random);
        return AddProblem(width, rows, random);
      });
    }
  }
}

void AddInt8(std::vector<MakeProblem>& problems) {
  for (size_t i = 0; i < std::size(kWidths); ++i) {
    const auto seed = static_cast<uint32_t>(i + 1);
    const int64_t span = int64_t{32} << i % 3, in = span * static_cast<int64_t>(1 + i % 4);
    problems.push_back([=] {
      Random random(seed);
      return LinearProblem(MakeInt8(random, in, kWidths[i], span), RowCount(i), seed % 2 == 0, random);
    });
  }
  problems.push_back([] {  // more rows than one pass over a tile takes
    Random random(1);
    return LinearProblem(MakeInt8(random, 256, 70, 64), 150, true, random);
  });
}

void AddKv(const KernelKey& key, std::vector<MakeProblem>& problems) {
  const auto add = [&](const KvShape& shape, int32_t most_rows) {
    const auto seed = static_cast<uint32_t>(problems.size() + 1);
    problems.push_back([=] {
      Random random(seed);
      return key.op == Op::kKvAppend ? KvAppendProblem(key.kv_format, shape, random)
                                     : AttentionProblem(key.kv_format, shape, most_rows, random);
    });
  };
  for (int64_t head_dim : {1, 7, 8, 15, 16, 17, 31, 32, 48, 64, 80, 128, 256}) {
    add({.num_heads = 3, .num_kv_heads = 1, .head_dim = head_dim, .lengths = {5, 70}}, 5);
  }
  const std::vector<std::vector<int64_t>> heads = {{1, 1}, {4, 4}, {9, 3}, {8, 2}, {32, 1}};
  for (const auto& h : heads) {
    add({.num_heads = h[0], .num_kv_heads = h[1], .head_dim = 24, .lengths = {33, 1, 200}}, 33);
  }
  for (int32_t block_tokens : {1, 3, 16, 64, 100}) {
    add({.num_heads = 6,
         .num_kv_heads = 2,
         .head_dim = 32,
         .block_tokens = block_tokens,
         .lengths = {130, 64, 65}},
        70);
  }
  for (int32_t length :
       {1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 192}) {  // around a tile of keys
    add({.num_heads = 2, .num_kv_heads = 1, .head_dim = 16, .lengths = {length}}, length);
  }
}

}  // namespace

std::vector<MakeProblem> SmallProblems(const KernelKey& key) {
  std::vector<MakeProblem> problems;
  switch (key.op) {
    case Op::kLinear:
    case Op::kEmbedding:
      if (key.weight_format == WeightFormat::kBcq) AddBcq(key, problems);
      if (key.weight_format == WeightFormat::kDense) AddDense(key, problems);
      if (key.weight_format == WeightFormat::kInt8) AddInt8(problems);
      break;
    case Op::kKvAppend:
    case Op::kAttention:
      AddKv(key, problems);
      break;
    default:
      AddRowWise(key, problems);
  }
  return problems;
}

std::vector<MakeProblem> RealProblems(const KernelKey& key) {
  std::vector<MakeProblem> problems;
  const auto add = [&](auto make) {
    problems.push_back([=] {
      Random random(1);
      return make(random);
    });
  };
  constexpr int64_t kHidden = 576, kIntermediate = 1536, kVocab = 49152;
  // Formats with one class for both roles have slow references: enough rows to cross a row block.
  const bool is_slow = key.role == Role::kAny && key.weight_format != WeightFormat::kDense;
  const int64_t rows = key.role == Role::kDecode ? 4 : is_slow ? 9 : 64;
  const auto weight = [key](Random& random, DType dtype, int64_t in, int64_t out) {
    if (key.weight_format == WeightFormat::kDense) return MakeDense(random, dtype, in, out);
    if (key.weight_format == WeightFormat::kInt8) return MakeInt8(random, in, out, 64);
    return MakeBcq(random,
                   {.in_features = in, .out_features = out, .group_size = 64, .max_bits = 4});
  };
  switch (key.op) {
    case Op::kLinear:
      for (DType dtype : kDenseTypes) {
        if (key.weight_format != WeightFormat::kDense && dtype != DType::kF32) continue;
        add([=](Random& r) {
          return LinearProblem(weight(r, dtype, kHidden, kHidden), rows, false, r);
        });
        add([=](Random& r) {
          return LinearProblem(weight(r, dtype, kHidden, kIntermediate), rows, true, r);
        });
        add([=](Random& r) {
          return LinearProblem(weight(r, dtype, kIntermediate, kHidden), rows, false, r);
        });
      }
      add([=](Random& r) {
        return LinearProblem(weight(r, DType::kF16, kHidden, kVocab), 2, false, r);
      });
      break;
    case Op::kEmbedding:
      add([=](Random& r) {
        return EmbeddingProblem(weight(r, DType::kF16, kHidden, kVocab), 512, r);
      });
      break;
    case Op::kKvAppend:
    case Op::kAttention:
      add([=](Random& r) {
        const KvShape shape = {
            .num_heads = 9, .num_kv_heads = 3, .head_dim = 64, .lengths = {512, 300}};
        return key.op == Op::kKvAppend ? KvAppendProblem(key.kv_format, shape, r)
                                       : AttentionProblem(key.kv_format, shape, 512, r);
      });
      break;
    case Op::kRmsNorm:
      add([=](Random& r) { return RmsNormProblem(kHidden, 512, r); });
      add([=](Random& r) { return RmsNormProblem(4096, 64, r); });
      break;
    case Op::kLayerNorm:
      add([=](Random& r) { return LayerNormProblem(768, 512, 0.5f, r); });
      add([=](Random& r) { return LayerNormProblem(4096, 64, 0, r); });
      break;
    case Op::kRelu:
    case Op::kGelu:
      add([=](Random& r) { return ActivationProblem(key.op, 3072, 512, r); });
      break;
    case Op::kRope:
      add([=](Random& r) { return RopeProblem(9, 64, 512, r); });
      break;
    case Op::kSiluMul:
      add([=](Random& r) { return SiluMulProblem(kIntermediate, 512, r); });
      break;
    case Op::kAdd:
      add([=](Random& r) { return AddProblem(kHidden, 512, r); });
      break;
  }
  return problems;
}

std::vector<KernelShape> IllegalShapes(const KernelKey& key) {
  const KernelShape linear = {
      .in_features = 64, .out_features = 8, .group_size = 32, .max_bits = 4};
  const KernelShape heads = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 64};
  std::vector<KernelShape> shapes;
  const auto change = [&shapes](KernelShape shape, auto set) {
    set(shape);
    shapes.push_back(shape);
  };
  switch (key.op) {
    case Op::kLinear:
    case Op::kEmbedding:
      change(linear, [](KernelShape& s) { s.in_features = 0; });
      change(linear, [](KernelShape& s) { s.in_features = -64; });
      change(linear, [](KernelShape& s) { s.out_features = 0; });
      if (key.weight_format == WeightFormat::kDense) {
        change(linear, [](KernelShape& s) { s.weight_dtype = DType::kI32; });
        change(linear, [](KernelShape& s) { s.weight_dtype = DType::kU8; });
      } else {
        change(linear, [](KernelShape& s) { s.in_features = 100; });
        change(linear, [](KernelShape& s) { s.group_size = 48; });
        change(linear, [](KernelShape& s) { s.group_size = 0; });
      }
      if (key.weight_format == WeightFormat::kBcq) {
        change(linear, [](KernelShape& s) { s.max_bits = 0; });
        change(linear, [](KernelShape& s) { s.max_bits = 9; });
      }
      break;
    case Op::kRope:
      change(heads, [](KernelShape& s) { s.head_dim = 63; });
      change(heads, [](KernelShape& s) { s.head_dim = 0; });
      break;
    case Op::kAttention:
      change(heads, [](KernelShape& s) { s.num_heads = 5; });
      change(heads, [](KernelShape& s) { s.num_heads = 0; });
      [[fallthrough]];
    case Op::kKvAppend:
      change(heads, [](KernelShape& s) { s.num_kv_heads = 0; });
      change(heads, [](KernelShape& s) { s.head_dim = 0; });
      break;
    default:
      break;  // norms and element-wise ops take any shape
  }
  return shapes;
}

}  // namespace bitdial::kernels
