#include "server/cli/engine_flags.h"

#include <cstdlib>

#include "server/cli/command.h"
#include "server/config/config.h"

namespace bitdial::server {
namespace {

// `threads` of the server's configuration, so that one variable means one thing to every command.
absl::StatusOr<int64_t> ThreadsOfEnvironment() {
  const ConfigKey& key = *FindConfigKey("threads");
  ServerConfig config;
  if (const char* text = std::getenv(EnvironmentName(key).c_str())) {
    const absl::Status status =
        ApplyText(key, text, "environment variable " + EnvironmentName(key), config);
    if (!status.ok()) return BlameConfig(status);
  }
  return config.threads;
}

}  // namespace

absl::StatusOr<engine::EngineOptions> EngineFlags::ToOptions() const {
  engine::EngineOptions options;
  BITDIAL_ASSIGN_OR_RETURN(const int64_t from_environment, ThreadsOfEnvironment());
  options.num_threads = static_cast<int>(num_threads.value_or(from_environment));
  options.kv_format = kv_format == "f32" ? kernels::KvFormat::kF32 : kernels::KvFormat::kF16;
  options.max_context = max_context;
  return options;
}

void AddEngineFlags(CLI::App& command, EngineFlags& flags) {
  command.add_option("MODEL", flags.model, "Hugging Face folder, GGUF file or quantized folder")
      ->required();
  command.add_option("--bits", flags.bits,
                     "Bit-planes read per weight, or \"dense\"; default: the most the model has");
  // No envname(): CLI11 reads the variables of every subcommand, also of those that are not run.
  command
      .add_option("--threads", flags.num_threads,
                  "Threads; 0: every available core [BITDIAL_THREADS]")
      ->check(CLI::Range(0, 1024));
  command
      .add_option("--kv-format", flags.kv_format,
                  "Storage of the KV cache: f16 or f32 (for comparisons)")
      ->check(CLI::IsMember({"f16", "f32"}))
      ->capture_default_str();
  command
      .add_option("--numerics", flags.numerics,
                  "What kernels over bit-planes round: exact (fp32 arithmetic), int16 (sums of "
                  "activations to 11 bits, prompts exact) or int8 (activations and scales of "
                  "planes to 8 bits)")
      ->check(CLI::IsMember({"exact", "int16", "int8"}))
      ->capture_default_str();
}

}  // namespace bitdial::server
