#include "server/model/served_model.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <system_error>

#include "engine/layers/kernel_choices.h"
#include "server/model/kernel_cache.h"

namespace bitdial::server {

std::string ServedModel::quantization_method() const {
  const quant::QuantizationInfo* quantization = checkpoint->quantization();
  return quantization == nullptr ? "dense" : quantization->method;
}

absl::StatusOr<ServedModel> LoadServedModel(const std::string& path, engine::EngineOptions options,
                                            kernels::Numerics numerics) {
  ServedModel model;
  model.name = NameOfModel(path);
  BITDIAL_ASSIGN_OR_RETURN(const kernels::KernelTable table,
                           kernels::KernelTable::CreateFromEnvironment(numerics));
  model.slow_reason = table.SlowReason();
  BITDIAL_ASSIGN_OR_RETURN(model.checkpoint, quant::Checkpoint::Open(path));
  BITDIAL_ASSIGN_OR_RETURN(model.sampling_defaults, ReadSamplingDefaults(*model.checkpoint));
  BITDIAL_ASSIGN_OR_RETURN(model.tokenizer, Tokenizer::Load(model.checkpoint->tokenizer_path()));
  model.chat_template = ChatTemplate::Recognise(*model.tokenizer);
  options.sampled_vocab_size = model.tokenizer->vocab_size();
  options.extra_eos_ids = model.tokenizer->eos_ids();
  const KernelCache cache = KernelCacheFromEnvironment();
  engine::KernelChoices choices = engine::KernelChoices::Open(cache.path, KernelMachine());
  options.kernel_choices = cache.is_on ? &choices : nullptr;
  BITDIAL_ASSIGN_OR_RETURN(model.engine, engine::Engine::Create(*model.checkpoint, table, options));
  model.kernel_notes = choices.notes();
  // In a container the folder by default often cannot be written, and nobody asked for it.
  if (const absl::Status saved = choices.Save(); !saved.ok() && cache.is_named) {
    model.kernel_notes.push_back(
        fmt::format("BITDIAL_KERNEL_CACHE: {}; kernels are measured at every start",
                    std::string(saved.message())));
  }
  return model;
}

absl::Status CheckServable(const quant::Checkpoint& checkpoint) {
  BITDIAL_RETURN_IF_ERROR(ReadSamplingDefaults(checkpoint).status());
  BITDIAL_RETURN_IF_ERROR(Tokenizer::Load(checkpoint.tokenizer_path()).status());
  return engine::Engine::Check(checkpoint);
}

std::string NameOfModel(const std::string& path) {
  std::error_code error;  // the working directory is gone: the path says all there is
  std::filesystem::path absolute = std::filesystem::absolute(path, error);
  absolute = (error ? std::filesystem::path(path) : absolute).lexically_normal();
  if (!absolute.has_filename()) absolute = absolute.parent_path();  // "folder/"
  return absolute.extension() == ".gguf" ? absolute.stem().string() : absolute.filename().string();
}

kernels::Numerics NumericsOf(const std::string& word) {
  if (word == "int8") return kernels::Numerics::kInt8;
  return word == "int16" ? kernels::Numerics::kInt16 : kernels::Numerics::kExact;
}

absl::StatusOr<int> ResolveBits(const std::string& word, const engine::ModelInfo& model) {
  if (word.empty()) return model.default_bits;
  std::string known;
  for (int bits : model.bits) {
    if (word == BitsText(bits)) return bits;
    known += (known.empty() ? "" : ", ") + BitsText(bits);
  }
  return InvalidArgument(
      "bits \"{}\": this model has {}{}", word, known,
      model.bits == std::vector<int>{0} ? "; run `bitdial quantize` to make bit-planes" : "");
}

std::string BitsText(int bits) { return bits == 0 ? "dense" : std::to_string(bits); }

int64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t total_pages = 0, resident_pages = 0;
  statm >> total_pages >> resident_pages;
  return resident_pages * sysconf(_SC_PAGESIZE);
}

}  // namespace bitdial::server
