// BCQ linears beside a read pass over the same bytes, which runs between the timed calls: on a
// shared machine only the ratio of the two is worth keeping.
//
//   bcq_linear_bench --benchmark_filter=lut4__avx512 --benchmark_repetitions=5
//
//   weight_GB/s   planes and scales of the bits asked for, once a call, by the median kernel time
//   read_GB/s     as many bytes, only read, by the median time of the pass
//   of_read       the first by the second
//   best_of_read  the same of the two shortest times: what an idle machine would show
//   GMAC/s        rows * in_features * out_features, whatever the bits
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "kernels/core/cpu_features.h"
#include "kernels/formats/bcq/rows.h"
#include "tests/kernels/bcq_random.h"

namespace bitdial::kernels {
namespace {

constexpr int64_t kFeatures = 4096;
constexpr int kMaxBits = 4;
constexpr int kNumWeights = 24;  // 9 MiB each: no cache keeps them

// Built once: random planes in kernel layout, one canonical weight prepared many times.
const std::deque<BcqWeight>& Weights() {
  static const std::deque<BcqWeight>* const weights = [] {
    ThreadPool pool(0);
    auto* made = new std::deque<BcqWeight>;
    const RandomBcq random({.in_features = kFeatures,
                            .out_features = kFeatures,
                            .group_size = 128,
                            .max_bits = kMaxBits,
                            .sets = {2, 3, 4}});
    for (int i = 0; i < kNumWeights; ++i)
      made->push_back(PrepareBcq(random.canonical, pool).value());
    return made;
  }();
  return *weights;
}

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

uint64_t Sum(const std::byte* data, int64_t num_bytes) {
  const auto* const words = reinterpret_cast<const uint64_t*>(data);
  uint64_t sum = 0;
  for (int64_t i = 0; i < num_bytes / 8; ++i) sum += words[i];
  return sum;
}

// Reads num_bytes of the weight's planes with every thread of the pool.
void ReadPass(const BcqWeight& weight, int64_t num_bytes, ThreadPool& pool) {
  constexpr int64_t kChunk = 128 << 10;
  pool.ParallelFor(num_bytes / kChunk, [&](int64_t chunk) {
    benchmark::DoNotOptimize(Sum(weight.codes.data() + chunk * kChunk, kChunk));
  });
}

void BM_Linear(benchmark::State& state, const KernelRow* row, int bits, int64_t num_rows,
               int num_threads) {
  const std::deque<BcqWeight>& weights = Weights();
  ThreadPool pool(num_threads);
  Stream stream(pool);
  std::mt19937 engine(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(num_rows * kFeatures), y(num_rows * kFeatures);
  for (float& value : x) value = normal(engine);
  const std::vector<uint8_t> row_bits(num_rows, static_cast<uint8_t>(bits));
  LinearArgs args;
  args.x = MakeMatrix<const float>(x.data(), num_rows, kFeatures);
  args.y = MakeMatrix(y.data(), num_rows, kFeatures);
  args.bits = row_bits.data();

  const BcqScales& set = weights[0].ScalesFor(bits);
  const int64_t code_bytes = weights[0].in_features / 8 * weights[0].out_features * bits;
  const auto weight_bytes =
      static_cast<double>(code_bytes + static_cast<int64_t>(set.alpha.num_bytes()) +
                          static_cast<int64_t>(set.beta.num_bytes()));
  std::vector<double> kernel_seconds, read_seconds;
  for (auto _ : state) {
    const size_t call = kernel_seconds.size();
    args.bcq = &weights[call % kNumWeights];
    const auto start = std::chrono::steady_clock::now();
    std::get<LinearFn>(row->fn)(args, stream);
    kernel_seconds.push_back(SecondsSince(start));
    state.SetIterationTime(kernel_seconds.back());
    const auto read_start = std::chrono::steady_clock::now();
    ReadPass(weights[(call + kNumWeights / 2) % kNumWeights], code_bytes, pool);
    read_seconds.push_back(SecondsSince(read_start));
  }
  std::sort(kernel_seconds.begin(), kernel_seconds.end());
  std::sort(read_seconds.begin(), read_seconds.end());
  const double kernel_median = kernel_seconds[kernel_seconds.size() / 2];
  const double weight_rate = weight_bytes / kernel_median;
  const double read_rate = static_cast<double>(code_bytes) / read_seconds[read_seconds.size() / 2];
  state.counters["weight_GB/s"] = weight_rate * 1e-9;
  state.counters["read_GB/s"] = read_rate * 1e-9;
  state.counters["of_read"] = weight_rate / read_rate;
  state.counters["best_of_read"] =
      weight_bytes / kernel_seconds[0] * read_seconds[0] / static_cast<double>(code_bytes);
  state.counters["GMAC/s"] =
      static_cast<double>(num_rows * kFeatures * kFeatures) / kernel_median * 1e-9;
}

void Register() {
  const CpuFeatures features = DetectCpuFeatures();
  for (const KernelRow& row : BcqRows()) {
    if (row.key.op != Op::kLinear || row.backend == Backend::kCpuRef) continue;
    if (row.backend == Backend::kCpuAvx2 ? !features.avx2 : !features.avx512) continue;
    const bool is_prompt = row.key.role == Role::kPrompt;
    const std::vector<int64_t> row_counts =
        is_prompt ? std::vector<int64_t>{64} : std::vector<int64_t>{1, 2, 4, 8};
    for (int num_threads : {1, 2}) {
      for (int bits : {2, 3, 4}) {
        for (int64_t num_rows : row_counts) {
          const std::string name = fmt::format("{}/{}x{}/bits:{}/rows:{}/threads:{}", row.name,
                                               kFeatures, kFeatures, bits, num_rows, num_threads);
          benchmark::RegisterBenchmark(name.c_str(), BM_Linear, &row, bits, num_rows, num_threads)
              ->UseManualTime()
              ->Unit(benchmark::kMicrosecond);
        }
      }
    }
  }
}

}  // namespace
}  // namespace bitdial::kernels

int main(int argc, char** argv) {
  std::printf("%s\n", bitdial::CpuModelName().c_str());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  bitdial::kernels::Register();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
