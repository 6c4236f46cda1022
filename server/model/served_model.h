// A model ready to answer: the opened checkpoint, its tokenizer and chat template, and the engine
// that runs it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "quant/container/checkpoint.h"
#include "server/model/sampling_defaults.h"
#include "server/tokenizer/chat_template.h"
#include "server/tokenizer/tokenizer.h"

namespace bitdial::server {

// Members are in the order of their lifetimes: the engine reads the checkpoint's mapped bytes.
struct ServedModel {
  std::string name;  // the last part of the path, or what the caller calls it
  std::unique_ptr<quant::Checkpoint> checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;
  ChatTemplate chat_template;
  SamplingDefaults sampling_defaults;
  std::string slow_reason;  // KernelTable::SlowReason
  std::vector<std::string> kernel_notes;  // engine::KernelChoices::notes
  std::unique_ptr<engine::Engine> engine;

  std::string quantization_method() const;  // "anybcq", ..., or "dense"
};

// Opens, loads and warms up. options.sampled_vocab_size and extra_eos_ids are set from the
// tokenizer; kernels come from BITDIAL_FORCE_BACKEND and BITDIAL_FORCE_KERNEL or are the best the
// machine has for these numerics, measured as BITDIAL_KERNEL_CACHE says. Errors  those of Checkpoint::Open, ReadSamplingDefaults, Tokenizer::Load,
// KernelTable::Create and Engine::Create.
absl::StatusOr<ServedModel> LoadServedModel(const std::string& path, engine::EngineOptions options,
                                            kernels::Numerics numerics);

// Whether LoadServedModel would take this dense model, as far as can be said without reading its
// matrices: its sampling defaults, its tokenizer, config.json, the names and shapes of its tensors,
// and its norms. Errors  those of LoadServedModel.
absl::Status CheckServable(const quant::Checkpoint& checkpoint);

// What a model is called that nobody named: the last part of its path, without ".gguf".
std::string NameOfModel(const std::string& path);

// "exact", "int16" or "int8", as flags and configuration have it (checked there).
kernels::Numerics NumericsOf(const std::string& word);

// The bits a user's word means: "dense" or a number the model has; empty: the model's default.
// Errors  INVALID_ARGUMENT listing the bits the model has.
absl::StatusOr<int> ResolveBits(const std::string& word, const engine::ModelInfo& model);

// "dense" for 0, else the number.
std::string BitsText(int bits);

// Bytes of physical memory this process holds now.
int64_t ResidentBytes();

}  // namespace bitdial::server
