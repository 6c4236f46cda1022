// bitdial bench serve: a load on a running server, and what its users would have felt.
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "quant/container/file_errors.h"
#include "server/cli/bench_command.h"
#include "server/cli/command.h"
#include "server/cli/connection.h"
#include "server/cli/json_text.h"
#include "server/cli/load/driver.h"
#include "server/cli/load/load_plot.h"
#include "server/cli/load/report.h"
#include "server/cli/load/trace.h"
#include "server/cli/progress.h"
#include "server/cli/signals.h"
#include "server/rpc/byte_buffer.h"

namespace bitdial::server {
namespace {

struct ServeBenchFlags {
  DriverOptions driver;
  WorkloadOptions load;
  std::string arrivals = "poisson";
  std::string prompt_tokens = "32", output_tokens = "64", bits;
  double duration_s = 30;
  int64_t num_requests = 0, deadline_ms = 0;
  double slo_ttft_ms = 0, slo_tpot_ms = 0;
  std::string trace, plot, timeline;
  bool is_json = false;
  const CLI::App* command = nullptr;

  bool Has(const char* flag) const { return command->count(flag) > 0; }
};

const std::map<std::string, ArrivalKind> kArrivals = {{"poisson", ArrivalKind::kPoisson},
                                                      {"burst", ArrivalKind::kBurst},
                                                      {"constant", ArrivalKind::kConstant},
                                                      {"closed", ArrivalKind::kClosed}};

// Flags that would have no effect are refused: whoever gave them believes otherwise.
absl::Status CheckFlags(const ServeBenchFlags& flags) {
  const auto refuse = [&flags](std::initializer_list<const char*> names, const std::string& why) {
    for (const char* name : names) {
      if (flags.Has(name)) return InvalidArgument("{}: {}", name, why);
    }
    return absl::OkStatus();
  };
  if (!flags.trace.empty()) {
    return refuse({"--arrivals", "--rate", "--burst", "--concurrency", "--duration", "--requests",
                   "--prompt-tokens", "--output-tokens"},
                  "the --trace says when requests arrive and how long they are; give one of them");
  }
  if (flags.Has("--duration") && flags.Has("--requests")) {
    return InvalidArgument("--duration and --requests: both say when the load ends; give one");
  }
  const ArrivalKind kind = flags.load.arrivals;
  if (kind == ArrivalKind::kClosed) {
    return refuse({"--rate", "--burst"},
                  "closed arrivals come as answers do; give --concurrency, or other --arrivals");
  }
  BITDIAL_RETURN_IF_ERROR(
      refuse({"--concurrency"}, fmt::format("{} arrivals do not wait for answers; give --rate, or "
                                            "--arrivals closed",
                                            flags.arrivals)));
  if (kind == ArrivalKind::kBurst) return absl::OkStatus();
  return refuse({"--burst"}, "needs --arrivals burst");
}

absl::StatusOr<Workload> MakeWorkload(ServeBenchFlags& flags) {
  WorkloadOptions& load = flags.load;
  load.arrivals = kArrivals.at(flags.arrivals);
  BITDIAL_RETURN_IF_ERROR(CheckFlags(flags));
  if (flags.Has("--bits")) {
    absl::StatusOr<BitsMix> bits = BitsMix::Parse(flags.bits);
    if (!bits.ok()) return Annotate(bits.status(), "--bits");
    load.bits = *std::move(bits);
  }
  if (!flags.trace.empty()) {
    BITDIAL_ASSIGN_OR_RETURN(Trace trace, ReadTrace(flags.trace));
    if (trace.has_bits && flags.Has("--bits")) {
      return InvalidArgument("--bits: {} has a column weight_bits; give one of them", flags.trace);
    }
    for (LoadRequest& row : trace.rows) {
      if (!trace.has_bits) row.bits = load.bits.Pick(Draw(load.seed, row.index).Unit());
    }
    return Workload::Replay(std::move(trace.rows), load.warmup, load.seed);
  }
  for (const auto& [flag, text, range] :
       {std::tuple{"--prompt-tokens", &flags.prompt_tokens, &load.prompt_tokens},
        std::tuple{"--output-tokens", &flags.output_tokens, &load.output_tokens}}) {
    absl::StatusOr<TokenRange> parsed = ParseTokenRange(*text);
    if (!parsed.ok()) return Annotate(parsed.status(), flag);
    *range = *parsed;
  }
  if (flags.Has("--requests")) {
    load.num_requests = flags.num_requests;
  } else {
    load.duration_s = flags.duration_s;
  }
  return Workload::Make(load);
}

// What the server would refuse of every such request is said before the first is sent.
absl::Status CheckAgainst(const v1::GetModelResponse& model, const Workload& workload) {
  const LoadRequest largest = workload.Largest();
  const int64_t tokens = int64_t{largest.prompt_tokens} + largest.output_tokens;
  if (tokens > model.max_context()) {
    return InvalidArgument(
        "a request of {} prompt and {} output tokens does not fit into the server's max_context, "
        "{}; ask for fewer, or serve with --max-context {}",
        largest.prompt_tokens, largest.output_tokens, model.max_context(), tokens);
  }
  const auto& has = model.weight_bits();
  for (const BitsWish& wish : workload.Wishes()) {
    const bool names_bits = wish.kind == BitsWish::Kind::kFixed || wish.bits > 0;
    if (!names_bits || std::find(has.begin(), has.end(), wish.bits) != has.end()) continue;
    std::string list;
    for (const int32_t bits : has) {
      list += (list.empty() ? "" : ", ") + (bits == 0 ? "dense" : std::to_string(bits));
    }
    return InvalidArgument("bits {}: {} has {}", ToText(wish), model.name(), list);
  }
  return absl::OkStatus();
}

std::string Describe(const ServeBenchFlags& flags, const std::string& address,
                     const v1::GetModelResponse& model) {
  const WorkloadOptions& load = flags.load;
  const std::string where =
      fmt::format("{} at {} ({}, {})", model.name(), address, model.backend(), model.numerics());
  if (!flags.trace.empty()) return fmt::format("{}: trace {}", where, flags.trace);
  const std::string pace = load.arrivals == ArrivalKind::kClosed
                               ? fmt::format("closed, {} clients", load.concurrency)
                               : fmt::format("{} {:g}/s", flags.arrivals, load.rate);
  return fmt::format("{}: {}, prompt {}, output {}, bits {}, seed {}", where, pace,
                     flags.prompt_tokens, flags.output_tokens,
                     flags.bits.empty() ? "default" : flags.bits, load.seed);
}

nlohmann::ordered_json LoadJson(const ServeBenchFlags& flags) {
  const WorkloadOptions& load = flags.load;
  nlohmann::ordered_json json = {{"seed", load.seed}, {"warmup", load.warmup}};
  if (!flags.bits.empty()) json["bits"] = flags.bits;
  if (flags.deadline_ms > 0) json["deadline_ms"] = flags.deadline_ms;
  if (!flags.trace.empty()) {
    json["trace"] = flags.trace;
    return json;
  }
  json["arrivals"] = flags.arrivals;
  json["prompt_tokens"] = flags.prompt_tokens;
  json["output_tokens"] = flags.output_tokens;
  if (load.arrivals == ArrivalKind::kClosed) {
    json["concurrency"] = load.concurrency;
  } else {
    json["rate"] = load.rate;
  }
  if (load.arrivals == ArrivalKind::kBurst) json["burst"] = load.burst;
  return json;
}

nlohmann::ordered_json ServerJson(const std::string& address, const v1::GetModelResponse& model) {
  return {{"address", address},
          {"model", model.name()},
          {"backend", model.backend()},
          {"numerics", model.numerics()},
          {"version", model.server_version()}};
}

// A file for the results, opened before the load: a run is long, and a wrong path should say so at
// once.
class ResultFile {
 public:
  absl::Status Open(const std::string& path) {
    if (path.empty()) return absl::OkStatus();
    path_ = path;
    errno = 0;
    file_.open(path, std::ios::binary | std::ios::trunc);
    return file_ ? absl::OkStatus() : quant::FileError(errno, path, "open for writing");
  }
  absl::Status Write(const std::string& text) {
    errno = 0;
    file_ << text << std::flush;
    return file_ ? absl::OkStatus() : quant::FileError(errno, path_, "write");
  }
  bool is_open() const { return file_.is_open(); }

 private:
  std::string path_;
  std::ofstream file_;
};

// Something was answered, or the reason why nothing was.
absl::Status Verdict(const Summary& summary) {
  if (summary.all.ok > 0 || summary.is_interrupted) return absl::OkStatus();
  if (summary.troubles.empty()) return Internal("no request was sent");
  const Trouble& worst = summary.troubles.front();
  auto code = absl::StatusCode::kUnknown;
  for (int value = 1; value <= 16; ++value) {
    const auto candidate = static_cast<absl::StatusCode>(value);
    if (absl::StatusCodeToString(candidate) == worst.code) code = candidate;
  }
  return MakeStatus(code, "no request was answered in full: {} of {} ended with {} {}: {}",
                    worst.count, summary.sent(), worst.code, worst.reason, worst.message);
}

LoadResult RunLoad(LoadDriver& driver, const Workload& workload, int64_t vocab_size, bool quiet) {
  Progress progress("bench serve", quiet || isatty(STDERR_FILENO) != 1);
  return driver.Run(workload, vocab_size, [&progress](const LoadProgress& now) {
    const auto count = [&now](Ending ending) {
      const auto found = now.endings.find(ending);
      return found == now.endings.end() ? 0 : found->second;
    };
    progress.Update(
        static_cast<int64_t>(1e6 * now.fraction), 1'000'000,
        fmt::format("{} sent, {} in flight, {} ok, {} rejected, {} failed", now.sent, now.in_flight,
                    count(Ending::kOk), count(Ending::kRejected), count(Ending::kFailed)));
  });
}

absl::Status BenchServe(ServeBenchFlags& flags, std::atomic<int>& signalled) {
  BITDIAL_ASSIGN_OR_RETURN(const Workload workload, MakeWorkload(flags));
  ResultFile plot, timeline;
  BITDIAL_RETURN_IF_ERROR(plot.Open(flags.plot));
  BITDIAL_RETURN_IF_ERROR(timeline.Open(flags.timeline));
  if (flags.deadline_ms > 0) flags.driver.deadline_ms = flags.deadline_ms;
  Slo slo;
  if (flags.slo_ttft_ms > 0) slo.ttft_s = flags.slo_ttft_ms / 1000;
  if (flags.slo_tpot_ms > 0) slo.tpot_s = flags.slo_tpot_ms / 1000;

  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);  // errors come back as statuses
  SilenceProtobuf();
  BlockSignals();
  LoadDriver driver(flags.driver);
  const SignalThread signals([&](int signal) {
    signalled = signal;
    driver.Stop();
  });
  BITDIAL_ASSIGN_OR_RETURN(const v1::GetModelResponse model, driver.Connect());
  BITDIAL_RETURN_IF_ERROR(CheckAgainst(model, workload));
  const LoadResult result = RunLoad(driver, workload, model.vocab_size(), flags.is_json);
  const Summary summary = Summarize(result, slo);
  const std::string what = Describe(flags, driver.address(), model);
  if (flags.is_json) {
    nlohmann::ordered_json json = {{"server", ServerJson(driver.address(), model)},
                                   {"load", LoadJson(flags)}};
    json.update(ToJson(summary, slo));
    std::cout << JsonText(json, 2) << std::endl;
  } else {
    std::cout << what << "\n\n" << ToText(summary, slo) << std::flush;
  }
  if (plot.is_open()) BITDIAL_RETURN_IF_ERROR(plot.Write(LoadPlotSvg(result, slo, what)));
  if (timeline.is_open()) BITDIAL_RETURN_IF_ERROR(timeline.Write(TimelineCsv(result, slo)));
  return Verdict(summary);
}

void AddLoadFlags(CLI::App& command, ServeBenchFlags& flags) {
  WorkloadOptions& load = flags.load;
  std::vector<std::string> kinds;
  for (const auto& [name, kind] : kArrivals) kinds.push_back(name);
  command
      .add_option("--arrivals", flags.arrivals,
                  "poisson: as from many users; burst: groups at once; constant: evenly apart; "
                  "closed: clients that ask again when they are answered")
      ->check(CLI::IsMember(kinds))
      ->capture_default_str();
  command.add_option("--rate", load.rate, "Requests per second on average (not closed)")
      ->check(NumberIn(0.001, 100'000))
      ->capture_default_str();
  command.add_option("--burst", load.burst, "Requests of a group (burst)")
      ->check(CLI::Range(int64_t{1}, int64_t{10'000}))
      ->capture_default_str();
  command.add_option("--concurrency", load.concurrency, "Clients (closed)")
      ->check(CLI::Range(int64_t{1}, int64_t{10'000}))
      ->capture_default_str();
  command.add_option("--duration", flags.duration_s, "Seconds in which requests arrive that count")
      ->check(NumberIn(0.01, kMaxLoadSeconds))
      ->capture_default_str();
  command.add_option("--requests", flags.num_requests, "So many count, in place of --duration")
      ->check(CLI::Range(int64_t{1}, kMaxLoadRequests));
  command.add_option("--warmup", load.warmup, "Requests sent before them that do not count")
      ->check(CLI::Range(int64_t{0}, kMaxLoadRequests))
      ->capture_default_str();
  command.add_option("--prompt-tokens", flags.prompt_tokens, "N, or MIN:MAX (uniform)")
      ->capture_default_str();
  command.add_option("--output-tokens", flags.output_tokens, "N, or MIN:MAX (uniform)")
      ->capture_default_str();
  command.add_option("--bits", flags.bits,
                     "What requests ask for: 4; 2,3,4 (each as often); 4:0.7,2:0.3 (weights); "
                     "auto; auto:2 (with a floor); dense. Default: left to the server");
  command.add_option("--trace", flags.trace,
                     "Replay a CSV file: arrival_s,prompt_tokens,output_tokens[,weight_bits], with "
                     "this header, sorted by time");
  command.add_option("--seed", load.seed, "Same seed, same arrivals, lengths, bits and prompts")
      ->check(IsSeed())
      ->capture_default_str();
}

void AddRunFlags(CLI::App& command, ServeBenchFlags& flags) {
  AddConnectionFlags(command, flags.driver.connection);
  command
      .add_option("--connections", flags.driver.connections,
                  "Connections to spread streams over; a server takes max_concurrent_streams on "
                  "each, more would wait here")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command.add_option("--deadline-ms", flags.deadline_ms, "gRPC deadline of each request")
      ->check(CLI::Range(int64_t{1}, int64_t{24} * 3600 * 1000));
  command
      .add_option("--drain-timeout", flags.driver.drain_timeout_s,
                  "Seconds to wait for answers after the last request was sent")
      ->check(NumberIn(0, 86'400))
      ->capture_default_str();
  command.add_option("--slo-ttft-ms", flags.slo_ttft_ms, "Good answers begin within this time")
      ->check(NumberIn(0.001, 3.6e6));
  command
      .add_option("--slo-tpot-ms", flags.slo_tpot_ms,
                  "Good answers take at most this time per token after the first, on average")
      ->check(NumberIn(0.001, 3.6e6));
  command.add_option("--plot", flags.plot, "Write a plot to this SVG file");
  command.add_option("--timeline", flags.timeline, "Write a line per request to this CSV file");
  command.add_flag("--json", flags.is_json, "Print JSON");
}

}  // namespace

void AddBenchServeCommand(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<ServeBenchFlags>();
  CLI::App* command = bench.add_subcommand("serve", "Put a load on a running server");
  flags->command = command;
  command->footer(
      "Examples:\n"
      "  bitdial bench serve --arrivals closed --concurrency 8 --duration 30\n"
      "  bitdial bench serve --rate 2 --bits 4:0.5,2:0.5 --slo-ttft-ms 500 --slo-tpot-ms 100 "
      "--plot load.svg\n"
      "  bitdial bench serve --arrivals burst --rate 4 --burst 16 --bits auto:2 --requests 200\n"
      "  bitdial bench serve --trace day.csv --timeline requests.csv --json\n"
      "Poisson, burst, constant and trace arrivals are open: a slow server does not slow them "
      "down, so its queue fills as\n"
      "with real users. TTFT and end to end count from the moment a request was due; lateness is "
      "what this client added.\n"
      "Prompts are random ids, answers are greedy and as long as asked for. How to read the "
      "tables: docs/bench_serve.md.\n"
      "Ctrl-C ends the load and prints what was measured. Run the client on another machine, or "
      "at least not on the\n"
      "server's cores, when figures matter.");
  AddLoadFlags(*command, *flags);
  AddRunFlags(*command, *flags);
  command->callback([flags, &exit_code] {
    std::atomic<int> signalled{0};
    exit_code = Report(BenchServe(*flags, signalled));
    if (signalled != 0) exit_code = 128 + signalled;
  });
}

}  // namespace bitdial::server
