// bitdial bench shape: a random model of a named shape, to serve and put a load on.
#include <fmt/format.h>

#include "quant/methods/synthetic/random_model.h"
#include "server/cli/bench_command.h"
#include "server/cli/command.h"

namespace bitdial::server {
namespace {

struct ShapeFlags {
  std::string shape;
  std::string bits = "2-4";
  quant::QuantizeOptions options;
};

absl::Status WriteShape(ShapeFlags& flags) {
  BITDIAL_ASSIGN_OR_RETURN(const quant::LlamaShape shape, quant::ParseNamedShape(flags.shape));
  BITDIAL_ASSIGN_OR_RETURN(flags.options.bits, quant::ParseBitRange(flags.bits));
  BITDIAL_RETURN_IF_ERROR(quant::WriteRandomModel(shape, flags.options));
  fmt::print("{}: random weights of the shape {}; good for speed, not for text\n",
             flags.options.output, shape.name);
  return absl::OkStatus();
}

}  // namespace

void AddBenchShapeCommand(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<ShapeFlags>();
  CLI::App* command =
      bench.add_subcommand("shape", "Write a random model of a shape, to serve and load");
  command->footer(
      "Example:\n"
      "  bitdial bench shape llama-1.1b -o models/random-1.1b && bitdial serve models/random-1.1b");
  command->add_option("SHAPE", flags->shape, "llama-1.1b, llama-8b; llama-8b:8 has 8 layers")
      ->required();
  command->add_option("-o,--output", flags->options.output, "Folder to make")->required();
  command->add_option("--bits", flags->bits, "Its bit-planes: N or MIN-MAX")->capture_default_str();
  command->callback([flags, &exit_code] { exit_code = Report(WriteShape(*flags)); });
}

}  // namespace bitdial::server
