// bitdial quantize: a dense checkpoint to nested bit-planes.
#include <fmt/format.h>

#include <atomic>
#include <csignal>
#include <iostream>
#include <nlohmann/json.hpp>

#include "quant/methods/quantize_job.h"
#include "server/cli/command.h"
#include "server/cli/json_text.h"
#include "server/cli/progress.h"
#include "server/cli/text_table.h"
#include "server/model/served_model.h"

namespace bitdial::server {
namespace {

struct QuantizeFlags {
  std::string model;
  std::string bits = "2-4";
  std::vector<std::string> overrides;
  quant::QuantizeOptions options;
  int num_threads = 0;
  bool is_json = false;
};

// The signal that asked to stop; set by the handler, read by the progress callback.
std::atomic<int> interrupted_by{0};

nlohmann::ordered_json ToJson(const quant::PrecisionReport& precision) {
  return {{"bits", precision.bits},
          {"bits_per_weight", precision.bits_per_weight},
          {"relative_error", precision.relative_error},
          {"max_error", precision.max_error}};
}

nlohmann::ordered_json ToJson(const quant::QuantizeReport& report) {
  nlohmann::ordered_json json = {{"output", report.output},
                                 {"method", report.method},
                                 {"min_bits", report.bits.min},
                                 {"max_bits", report.bits.max},
                                 {"num_weights", report.num_weights},
                                 {"num_bytes", report.num_bytes},
                                 {"bits_per_weight", 8.0 * static_cast<double>(report.num_bytes) /
                                                         static_cast<double>(report.num_weights)},
                                 {"seconds", report.seconds},
                                 {"notes", report.notes}};
  json["totals"] = nlohmann::ordered_json::array();
  for (const auto& precision : report.totals) json["totals"].push_back(ToJson(precision));
  json["tensors"] = nlohmann::ordered_json::array();
  for (const quant::TensorReport& tensor : report.tensors) {
    nlohmann::ordered_json entry = {{"name", tensor.name},
                                    {"shape", {tensor.out_features, tensor.in_features}},
                                    {"group_size", tensor.group_size},
                                    {"bytes", tensor.num_bytes},
                                    {"bits_per_weight", tensor.bits_per_weight}};
    if (!tensor.why_dense.empty()) entry["why_dense"] = tensor.why_dense;
    entry["precisions"] = nlohmann::ordered_json::array();
    for (const auto& precision : tensor.precisions)
      entry["precisions"].push_back(ToJson(precision));
    json["tensors"].push_back(std::move(entry));
  }
  return json;
}

// A row per precision of every tensor; "stored" counts all scale sets, "read" what a request at
// those bits reads.
void PrintReport(const quant::QuantizeReport& report) {
  TextTable table({"tensor", "group", "stored b/w", "bits", "read b/w", "rel. error", "max error"});
  for (const quant::TensorReport& tensor : report.tensors) {
    const std::string stored = fmt::format("{:.3f}", tensor.bits_per_weight);
    if (tensor.precisions.empty()) {
      table.AddRow({tensor.name, "dense", stored, "", "", tensor.why_dense});
      continue;
    }
    bool is_first = true;
    for (const quant::PrecisionReport& precision : tensor.precisions) {
      table.AddRow({is_first ? tensor.name : "", is_first ? std::to_string(tensor.group_size) : "",
                    is_first ? stored : "", std::to_string(precision.bits),
                    fmt::format("{:.3f}", precision.bits_per_weight),
                    fmt::format("{:.4f}", precision.relative_error),
                    fmt::format("{:.4f}", precision.max_error)});
      is_first = false;
    }
  }
  for (const quant::PrecisionReport& total : report.totals) {
    table.AddRow({fmt::format("all linears at {} bits", total.bits), "", "",
                  std::to_string(total.bits), fmt::format("{:.3f}", total.bits_per_weight),
                  fmt::format("{:.4f}", total.relative_error),
                  fmt::format("{:.4f}", total.max_error)});
  }
  fmt::print("{}\n", table.ToString());
  for (const std::string& note : report.notes) fmt::print("note: {}\n", note);
  fmt::print("{}: {} of {} weights in {} ({:.3f} bits per weight, all bytes counted) in {:.1f} s\n",
             report.output, report.method, report.num_weights, HumanBytes(report.num_bytes),
             8.0 * static_cast<double>(report.num_bytes) / static_cast<double>(report.num_weights),
             report.seconds);
}

absl::Status Quantize(QuantizeFlags flags) {
  BITDIAL_ASSIGN_OR_RETURN(flags.options.bits, quant::ParseBitRange(flags.bits));
  for (const std::string& text : flags.overrides) {
    BITDIAL_ASSIGN_OR_RETURN(quant::TensorOverride parsed, quant::ParseTensorOverride(text));
    flags.options.overrides.push_back(std::move(parsed));
  }
  BITDIAL_ASSIGN_OR_RETURN(const auto source, quant::Checkpoint::Open(flags.model));
  // What no command could run is not worth the work; a quantized model is refused as such below.
  if (source->quantization() == nullptr) BITDIAL_RETURN_IF_ERROR(CheckServable(*source));
  BITDIAL_ASSIGN_OR_RETURN(const auto pool, ThreadPool::Create(flags.num_threads));
  for (int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int got) { interrupted_by = got; });
  Progress progress("quantize", flags.is_json);
  const auto report = quant::Quantize(*source, flags.options, *pool,
                                      [&progress](const quant::QuantizeProgress& state) {
                                        progress.Update(state.done, state.total, state.tensor);
                                        return interrupted_by == 0;
                                      });
  progress.Finish();
  if (!report.ok()) return report.status();
  if (flags.is_json) {
    std::cout << JsonText(ToJson(*report), 2) << std::endl;
  } else {
    PrintReport(*report);
  }
  return absl::OkStatus();
}

std::string MethodsHelp() {
  std::string text = "How planes and scales are found:";
  for (const quant::MethodInfo& method : quant::AllMethods())
    text += fmt::format(" {} ({})", method.name, method.summary);
  return text;
}

}  // namespace

void AddQuantizeCommand(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<QuantizeFlags>();
  CLI::App* command = app.add_subcommand("quantize", "Make a checkpoint of nested bit-planes");
  command->footer(
      "Example: bitdial quantize SmolLM2-135M -o SmolLM2-bitdial --bits 2-4\n"
      "The output holds planes for the most bits and one set of scales for each number of bits, so "
      "that a request may\n"
      "ask for any of them. Weights are read one tensor at a time; a run that is killed leaves "
      "nothing under OUT.\n"
      "Per-tensor bits: --tensor 'model.layers.0.*=4' --tensor '*down_proj*=3-4' --tensor "
      "'*o_proj*=dense'.");
  quant::QuantizeOptions& options = flags->options;
  command->add_option("MODEL", flags->model, "Hugging Face folder or GGUF file")->required();
  command->add_option("-o,--output", options.output, "Folder to make")->required();
  command->add_option("--method", options.method, MethodsHelp())->capture_default_str();
  command->add_option("--bits", flags->bits, "Bits a request may ask for: N or MIN-MAX, 1 to 8")
      ->capture_default_str();
  command
      ->add_option("--group-size", options.group_size,
                   "Weights that share a scale, a multiple of 32; 0: the largest of 128, 64, 32 "
                   "that fits a tensor")
      ->capture_default_str();
  command->add_option("--embedding-bits", options.embed_bits, "Fixed bits of the embedding, 6 to 8")
      ->check(CLI::Range(6, 8))
      ->capture_default_str();
  command->add_option("--head-bits", options.head_bits, "Fixed bits of the output head, 6 to 8")
      ->check(CLI::Range(6, 8))
      ->capture_default_str();
  command->add_option("--tensor", flags->overrides,
                      "PATTERN=BITS, PATTERN=MIN-MAX or PATTERN=dense; the last match wins");
  command->add_flag("--overwrite", options.overwrite,
                    "Replace OUT when it exists, once all is written");
  command->add_option("--threads", flags->num_threads, "0: every available core")
      ->check(CLI::Range(0, 1024));
  command->add_flag("--json", flags->is_json, "Print the report as JSON");
  command->callback([flags, &exit_code] {
    exit_code = Report(Quantize(*flags));
    if (exit_code != kExitOk && interrupted_by != 0) exit_code = 128 + interrupted_by;
  });
}

}  // namespace bitdial::server
