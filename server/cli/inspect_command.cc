// bitdial inspect: what is in a model file, without loading its weights.
#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "quant/container/checkpoint.h"
#include "quant/container/leftovers.h"
#include "server/cli/command.h"
#include "server/cli/json_text.h"
#include "server/cli/text_table.h"
#include "server/tokenizer/chat_template.h"

namespace bitdial::server {
namespace {

struct InspectOptions {
  std::string model;
  bool is_json = false;
  bool lists_tensors = false;
};

std::string ShapeText(const Shape& shape) {
  std::string text = "[";
  for (int axis = 0; axis < shape.rank; ++axis)
    text += fmt::format("{}{}", axis ? ", " : "", shape[axis]);
  return text + "]";
}

nlohmann::ordered_json Describe(const quant::Checkpoint& checkpoint) {
  nlohmann::ordered_json json;
  json["path"] = checkpoint.path();
  json["form"] = checkpoint.form() == quant::CheckpointForm::kGguf ? "gguf" : "huggingface";
  json["config"] = checkpoint.config();
  if (const quant::QuantizationInfo* info = checkpoint.quantization()) {
    json["quantization"] = {{"method", info->method},
                            {"min_bits", info->min_bits},
                            {"max_bits", info->max_bits},
                            {"group_size", info->group_size}};
  } else {
    json["quantization"] = nullptr;
  }
  int64_t num_bytes = 0;
  for (const quant::TensorInfo& tensor : checkpoint.tensors())
    num_bytes += static_cast<int64_t>(tensor.num_bytes);
  json["num_tensors"] = checkpoint.tensors().size();
  json["tensor_bytes"] = num_bytes;
  const auto leftovers = quant::FindLeftovers(checkpoint);
  if (leftovers.ok()) {
    json["leftover_tensors"] = *leftovers;
  } else {
    json["leftover_tensors"] = {{"error", std::string(leftovers.status().message())}};
  }
  const auto tokenizer = Tokenizer::Load(checkpoint.tokenizer_path());
  if (tokenizer.ok()) {
    json["tokenizer"] = {{"kind", (*tokenizer)->kind()},
                         {"vocab_size", (*tokenizer)->vocab_size()},
                         {"chat_template", Name(ChatTemplate::Recognise(**tokenizer).form())}};
  } else {
    json["tokenizer"] = {{"error", std::string(tokenizer.status().message())}};
  }
  return json;
}

void PrintText(const nlohmann::ordered_json& json, const quant::Checkpoint& checkpoint,
               bool lists_tensors) {
  fmt::print("{} ({})\n", json["path"].get<std::string>(), json["form"].get<std::string>());
  for (const auto& [key, value] : json["config"].items()) {
    if (value.is_primitive()) fmt::print("  {:<26} {}\n", key, JsonText(value));
  }
  fmt::print("quantization  {}\ntokenizer     {}\ntensors       {} in {}\n",
             JsonText(json["quantization"]), JsonText(json["tokenizer"]),
             JsonText(json["num_tensors"]), HumanBytes(json["tensor_bytes"].get<int64_t>()));
  if (!json["leftover_tensors"].empty())
    fmt::print("leftovers     {} (tensors that a model of this config does not read)\n",
               JsonText(json["leftover_tensors"]));
  if (!lists_tensors) return;
  TextTable table({"tensor", "type", "shape", "bytes"});
  for (const quant::TensorInfo& tensor : checkpoint.tensors()) {
    table.AddRow(
        {tensor.name, tensor.type, ShapeText(tensor.shape), std::to_string(tensor.num_bytes)});
  }
  fmt::print("{}", table.ToString());
}

absl::Status Inspect(const InspectOptions& options) {
  BITDIAL_ASSIGN_OR_RETURN(const auto checkpoint, quant::Checkpoint::Open(options.model));
  nlohmann::ordered_json json = Describe(*checkpoint);
  if (!options.is_json) {
    PrintText(json, *checkpoint, options.lists_tensors);
    return absl::OkStatus();
  }
  if (options.lists_tensors) {
    for (const quant::TensorInfo& tensor : checkpoint->tensors()) {
      nlohmann::ordered_json shape = nlohmann::ordered_json::array();
      for (int axis = 0; axis < tensor.shape.rank; ++axis) shape.push_back(tensor.shape[axis]);
      json["tensors"].push_back({{"name", tensor.name},
                                 {"type", tensor.type},
                                 {"shape", shape},
                                 {"bytes", tensor.num_bytes}});
    }
  }
  std::cout << JsonText(json, 2) << std::endl;
  return absl::OkStatus();
}

}  // namespace

void AddInspectCommand(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command =
      app.add_subcommand("inspect", "Show what a model file holds, without loading it");
  command->footer("Example: bitdial inspect models/SmolLM2-bitdial --tensors");
  command->add_option("MODEL", options->model, "Hugging Face folder, GGUF file or quantized folder")
      ->required();
  command->add_flag("--tensors", options->lists_tensors, "List every tensor");
  command->add_flag("--json", options->is_json, "Print JSON");
  command->callback([options, &exit_code] { exit_code = Report(Inspect(*options)); });
}

}  // namespace bitdial::server
