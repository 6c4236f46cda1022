// bitdial bench linear: one BCQ linear against the read bandwidth of the same run.
//
// Weights rotate over 1 GiB or twice the last cache, so that no call finds its weights in a cache;
// every kernel sample is followed by a read pass over as many bytes, so that a noisy neighbour slows
// both.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "kernels/backends/cpu/read_pass.h"
#include "kernels/formats/bcq/i8.h"
#include "kernels/formats/bcq/i8_scales.h"
#include "kernels/formats/bcq/prepare.h"
#include "kernels/kernel_choice.h"
#include "kernels/kernel_table.h"
#include "server/cli/bench_command.h"
#include "server/cli/command.h"
#include "server/cli/json_text.h"
#include "server/cli/text_table.h"
#include "server/model/served_model.h"

namespace bitdial::server {
namespace {

using kernels::BcqWeight;

struct LinearOptions {
  std::string shape = "4096x4096";
  std::vector<int> bits = {2, 3, 4};
  std::vector<int64_t> rows = {1, 8};
  int64_t group_size = 128;
  int num_threads = 0;
  int num_samples = 20;
  std::string role = "decode";
  std::string numerics = "int8";
  std::string kernel;  // empty: the one that runs where nothing is measured
  bool is_mixed = false;
  bool is_json = false;
};

// The bits of the rows of one call, descending.
using RowBits = std::vector<uint8_t>;

struct LinearResult {
  std::vector<int> bits;  // of its rows, each value once
  int64_t rows = 0;
  std::string kernel;
  Spread us;
  double gb_per_s = 0;       // codes + alpha + beta, at the median
  double read_gb_per_s = 0;  // plain read, median of the interleaved passes
  double share_of_read = 0;
};

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// [out, in] random weight with a set of scales for each of `sets`, ascending bits.
absl::StatusOr<BcqWeight> RandomWeight(int64_t out, int64_t in, const std::vector<int>& sets,
                                       int64_t group_size, std::mt19937_64& random,
                                       ThreadPool& pool) {
  const int bits = sets.back();
  std::vector<uint64_t> codes(static_cast<size_t>(in / 32 * bits * out + 1) / 2);
  for (uint64_t& word : codes) word = random();
  const int64_t num_groups = in / group_size;
  std::vector<uint16_t> alpha(static_cast<size_t>(num_groups * bits * out), F32ToF16(0.01f));
  std::vector<uint16_t> beta(static_cast<size_t>(num_groups * out), F32ToF16(0.001f));
  const auto view = [](const auto& data, DType dtype, Shape shape) {
    return TensorView{reinterpret_cast<const std::byte*>(data.data()), dtype, shape};
  };
  kernels::CanonicalBcq canonical;
  canonical.codes = view(codes, DType::kI32, {in / 32, bits, out});
  canonical.group_size = group_size;
  for (int set : sets) {
    canonical.scales.push_back({set, view(alpha, DType::kF16, {num_groups, set, out}),
                                view(beta, DType::kF16, {num_groups, out})});
  }
  BITDIAL_ASSIGN_OR_RETURN(BcqWeight weight, kernels::PrepareBcq(canonical, pool));
  if (bits <= kernels::bcq::kI8MaxPlanes) {
    BITDIAL_RETURN_IF_ERROR(kernels::AddI8Scales(weight, pool));
  }
  return weight;
}

// Bytes that the weights rotate over, and that a read pass covers: more than any cache holds, within
// what a machine can spare.
size_t RotationBytes() {
  constexpr size_t kMin = size_t{1} << 30, kMax = size_t{4} << 30;
  const long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return std::clamp(l3 > 0 ? 2 * static_cast<size_t>(l3) : 0, kMin, kMax);
}

// Seconds to read every byte of `buffer` once, each thread one stream.
double TimeReadPass(const Buffer& buffer, ThreadPool& pool) {
  const kernels::ReadPassFn read = kernels::WidestReadPass();
  const auto num_tasks = static_cast<size_t>(pool.num_threads());
  const size_t part = buffer.num_bytes() / num_tasks / 256 * 256;
  std::vector<uint64_t> sums(num_tasks);
  const auto start = std::chrono::steady_clock::now();
  pool.ParallelFor(pool.num_threads(), [&](int64_t task) {
    const auto i = static_cast<size_t>(task);
    sums[i] = read(buffer.As<std::byte>() + i * part, part);
  });
  const double seconds = SecondsSince(start);
  asm volatile("" : : "r"(sums.data()) : "memory");  // the reads must not be optimised away
  return seconds;
}

// Every value of the rows once, ascending.
std::vector<int> SetsOf(const RowBits& row_bits) {
  std::vector<int> sets(row_bits.rbegin(), row_bits.rend());
  sets.erase(std::unique(sets.begin(), sets.end()), sets.end());
  return sets;
}

// What a call reads: the planes up to the largest bits, and the scales of every set: alphas and beta,
// with 8-bit alphas a unit too.
int64_t BytesRead(int64_t out, int64_t in, const std::vector<int>& sets, int64_t group_size,
                  kernels::Numerics numerics) {
  int64_t scale_bytes = 0;  // of an output in a group
  for (int set : sets) {
    scale_bytes += numerics == kernels::Numerics::kInt8 ? set + 2 * 2 : (set + 1) * 2;
  }
  return in * out * sets.back() / 8 + in / group_size * out * scale_bytes;
}

absl::StatusOr<const kernels::KernelRow*> FindRow(const LinearOptions& options, int64_t out,
                                                  int64_t in, const RowBits& row_bits,
                                                  const kernels::KernelTable& table) {
  const kernels::KernelKey key = {
      .op = kernels::Op::kLinear,
      .weight_format = kernels::WeightFormat::kBcq,
      .role = options.role == "prompt" ? kernels::Role::kPrompt : kernels::Role::kDecode};
  const kernels::KernelShape shape = {
      .in_features = in,
      .out_features = out,
      .group_size = options.group_size,
      .max_bits = row_bits.front()};
  BITDIAL_ASSIGN_OR_RETURN(const auto candidates, table.Candidates(key, shape));
  return kernels::StaticChoice(candidates)[kernels::CallSizeOf(std::ssize(row_bits))];
}

absl::StatusOr<LinearResult> MeasureOne(const LinearOptions& options, int64_t out, int64_t in,
                                        const RowBits& row_bits, const kernels::KernelRow* row,
                                        Stream& stream) {
  ThreadPool& pool = stream.pool();
  const auto rows = static_cast<int64_t>(row_bits.size());
  const std::vector<int> sets = SetsOf(row_bits);
  const auto linear = std::get<kernels::LinearFn>(row->fn);
  constexpr double kMaxSampleSeconds = 1;

  const int64_t weight_bytes = BytesRead(out, in, sets, options.group_size, row->numerics);
  constexpr int64_t kMaxCopies = 1024;  // small shapes stay in a cache whatever we do
  const int64_t num_copies =
      std::clamp<int64_t>(static_cast<int64_t>(RotationBytes()) / weight_bytes + 1, 2, kMaxCopies);
  std::mt19937_64 random(1);
  std::vector<BcqWeight> weights;
  for (int64_t i = 0; i < num_copies; ++i) {
    BITDIAL_ASSIGN_OR_RETURN(BcqWeight weight,
                             RandomWeight(out, in, sets, options.group_size, random, pool));
    weights.push_back(std::move(weight));
  }
  BITDIAL_ASSIGN_OR_RETURN(const Buffer read_buffer,
                           Buffer::Allocate(Device::kCpu, RotationBytes()));
  std::fill_n(read_buffer.As<uint64_t>(), read_buffer.num_bytes() / 8, 1);

  std::vector<float> x(static_cast<size_t>(rows * in)), y(static_cast<size_t>(rows * out));
  std::normal_distribution<float> normal;
  for (float& value : x) value = normal(random);
  int64_t num_calls = 0;
  const auto run = [&] {
    linear({.bcq = &weights[static_cast<size_t>(num_calls++ % num_copies)],
            .x = MakeMatrix<const float>(x.data(), rows, in),
            .y = MakeMatrix(y.data(), rows, out),
            .bits = row_bits.data()},
           stream);
  };
  run();  // warm-up: scratch
  std::vector<double> us, read_gb_per_s;
  for (int sample = 0; sample < options.num_samples; ++sample) {
    const auto start = std::chrono::steady_clock::now();
    const int64_t first = num_calls;
    // Every copy once; a call of many rows does not need so many.
    while (num_calls < first + num_copies && SecondsSince(start) < kMaxSampleSeconds) run();
    us.push_back(1e6 * SecondsSince(start) / static_cast<double>(num_calls - first));
    read_gb_per_s.push_back(static_cast<double>(read_buffer.num_bytes()) / 1e9 /
                            TimeReadPass(read_buffer, pool));
  }
  LinearResult result{.bits = sets, .rows = rows, .kernel = row->name, .us = MakeSpread(us)};
  result.gb_per_s = static_cast<double>(weight_bytes) / 1e3 / result.us.median;
  result.read_gb_per_s = MakeSpread(read_gb_per_s).median;
  result.share_of_read = result.gb_per_s / result.read_gb_per_s;
  return result;
}

// The calls to measure: all rows of equal bits, and with --mixed as many rows of each.
std::vector<RowBits> Calls(const LinearOptions& options) {
  std::vector<RowBits> calls;
  for (int bits : options.bits) {
    for (int64_t rows : options.rows) {
      calls.emplace_back(static_cast<size_t>(rows), static_cast<uint8_t>(bits));
    }
  }
  std::vector<int> descending = options.bits;
  std::sort(descending.rbegin(), descending.rend());
  const auto num_bits = static_cast<int64_t>(descending.size());
  for (int64_t rows : options.rows) {
    if (!options.is_mixed || rows < num_bits) continue;
    RowBits row_bits;
    for (int64_t r = 0; r < rows; ++r) {
      const auto i = static_cast<size_t>(r * num_bits / rows);
      row_bits.push_back(static_cast<uint8_t>(descending[i]));
    }
    calls.push_back(std::move(row_bits));
  }
  return calls;
}

absl::Status BenchLinear(const LinearOptions& options) {
  int64_t out = 0, in = 0;
  if (std::sscanf(options.shape.c_str(), "%ldx%ld", &out, &in) != 2 || out < 1 || in < 1 ||
      out > 1 << 20 || in > 1 << 20) {
    return InvalidArgument("--shape \"{}\": expected OUTxIN, for example 4096x4096", options.shape);
  }
  if (in % 32 != 0 || options.group_size % 32 != 0 || in % options.group_size != 0) {
    return InvalidArgument(
        "--shape {}: in_features must be a multiple of 32 and of --group-size {}", options.shape,
        options.group_size);
  }
  BITDIAL_ASSIGN_OR_RETURN(
      const kernels::KernelTable table,
      kernels::KernelTable::CreateFromEnvironment(NumericsOf(options.numerics), options.kernel));
  const std::vector<RowBits> calls = Calls(options);
  std::vector<const kernels::KernelRow*> rows;
  std::set<std::string> names;
  for (const RowBits& row_bits : calls) {
    BITDIAL_ASSIGN_OR_RETURN(rows.emplace_back(), FindRow(options, out, in, row_bits, table));
    names.insert(rows.back()->name);
  }
  BITDIAL_RETURN_IF_ERROR(table.CheckForcedRowsUsed(names));
  BITDIAL_ASSIGN_OR_RETURN(const auto pool, ThreadPool::Create(options.num_threads));
  Stream stream(*pool);
  TextTable text({"kernel", "bits", "rows", "us", "(min..max)", "GB/s", "read GB/s", "of read"});
  nlohmann::ordered_json json = {{"shape", options.shape}, {"threads", pool->num_threads()}};
  for (size_t i = 0; i < calls.size(); ++i) {
    BITDIAL_ASSIGN_OR_RETURN(const LinearResult r,
                             MeasureOne(options, out, in, calls[i], rows[i], stream));
    text.AddRow(
        {r.kernel, fmt::format("{}", fmt::join(r.bits, "+")), std::to_string(r.rows),
         fmt::format("{:.1f}", r.us.median),
         fmt::format("({:.1f}..{:.1f})", r.us.min, r.us.max), fmt::format("{:.1f}", r.gb_per_s),
         fmt::format("{:.1f}", r.read_gb_per_s), fmt::format("{:.0f}%", 100 * r.share_of_read)});
    json["results"].push_back({{"kernel", r.kernel},
                               {"bits", r.bits.size() == 1 ? nlohmann::ordered_json(r.bits[0])
                                                           : nlohmann::ordered_json(r.bits)},
                               {"rows", r.rows},
                               {"us", r.us.median},
                               {"us_min", r.us.min},
                               {"us_max", r.us.max},
                               {"gb_per_s", r.gb_per_s},
                               {"read_gb_per_s", r.read_gb_per_s},
                               {"share_of_read", r.share_of_read}});
  }
  if (options.is_json) {
    std::cout << JsonText(json, 2) << std::endl;
  } else {
    fmt::print("{} (out x in), group {}, {} threads, {} samples\n{}", options.shape,
               options.group_size, pool->num_threads(), options.num_samples, text.ToString());
  }
  return absl::OkStatus();
}

}  // namespace

void AddBenchLinearCommand(CLI::App& bench, int& exit_code) {
  auto options = std::make_shared<LinearOptions>();
  CLI::App* command =
      bench.add_subcommand("linear", "One BCQ linear against this machine's read bandwidth");
  command->footer(
      "Example: bitdial bench linear --shape 11008x4096 --bits 2,3,4 --rows 1,2,4,8 --threads 2");
  command->add_option("--shape", options->shape, "OUTxIN")->capture_default_str();
  command->add_option("--bits", options->bits, "Comma-separated")
      ->delimiter(',')
      ->check(CLI::Range(1, 8))
      ->capture_default_str();
  command->add_option("--rows", options->rows, "Comma-separated")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_flag("--mixed", options->is_mixed,
                    "Also calls whose rows are split evenly over all --bits");
  command->add_option("--group-size", options->group_size, "in_features that share a scale")
      ->check(CLI::Range(32, 1 << 20))
      ->capture_default_str();
  command->add_option("--role", options->role, "decode or prompt: which numeric class")
      ->check(CLI::IsMember({"decode", "prompt"}))
      ->capture_default_str();
  command->add_option("--numerics", options->numerics, "exact, int16 or int8, as for generate")
      ->check(CLI::IsMember({"exact", "int16", "int8"}))
      ->capture_default_str();
  command->add_option("--kernel", options->kernel,
                      "A kernel row of the class that role and numerics choose, as "
                      "BITDIAL_FORCE_KERNEL; `doctor --kernels` lists all");
  command->add_option("--threads", options->num_threads, "0: every available core")
      ->check(CLI::Range(0, 1024));
  command->add_option("--samples", options->num_samples, "Measurements of each row")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag("--json", options->is_json, "Print JSON");
  command->callback([options, &exit_code] { exit_code = Report(BenchLinear(*options)); });
}

}  // namespace bitdial::server
