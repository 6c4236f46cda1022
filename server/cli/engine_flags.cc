#include "server/cli/engine_flags.h"

namespace bitdial::server {

engine::EngineOptions EngineFlags::ToOptions() const {
  engine::EngineOptions options;
  options.num_threads = num_threads;
  options.kv_format = kv_format == "f32" ? kernels::KvFormat::kF32 : kernels::KvFormat::kF16;
  options.max_context = max_context;
  return options;
}

void AddEngineFlags(CLI::App& command, EngineFlags& flags) {
  command.add_option("MODEL", flags.model, "Hugging Face folder, GGUF file or quantized folder")
      ->required();
  command.add_option("--bits", flags.bits,
                     "Bit-planes read per weight, or \"dense\"; default: the most the model has");
  command.add_option("--threads", flags.num_threads, "Threads; 0: every available core")
      ->check(CLI::Range(0, 1024))
      ->envname("BITDIAL_THREADS");
  command
      .add_option("--kv-format", flags.kv_format,
                  "Storage of the KV cache: f16 or f32 (for comparisons)")
      ->check(CLI::IsMember({"f16", "f32"}))
      ->capture_default_str();
  command
      .add_option("--numerics", flags.numerics,
                  "What decode kernels over bit-planes round: exact (fp32 arithmetic) or int8 "
                  "(activations to 8 bits: faster)")
      ->check(CLI::IsMember({"exact", "int8"}))
      ->capture_default_str();
}

}  // namespace bitdial::server
