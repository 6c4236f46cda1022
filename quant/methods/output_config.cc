#include "quant/methods/output_config.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "quant/container/leftovers.h"

namespace bitdial::quant {
namespace {

int64_t CommonGroupSize(const std::vector<TensorPlan>& plans) {
  std::map<int64_t, int64_t> weights_of;
  for (const TensorPlan& plan : plans) {
    if (plan.is_quantized()) weights_of[plan.group_size] += plan.shape.NumElements();
  }
  const auto most =
      std::max_element(weights_of.begin(), weights_of.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == weights_of.end() ? 0 : most->first;
}

Json TensorBits(const QuantizeOptions& options, const std::vector<TensorPlan>& plans) {
  Json tensors = Json::object();
  for (const TensorPlan& plan : plans) {
    if (plan.shape.rank != 2) continue;
    if (!plan.is_quantized()) {
      tensors[plan.Prefix()] = "dense";
    } else if (plan.bits.min == plan.bits.max && plan.bits != options.bits) {
      tensors[plan.Prefix()] = fmt::format("{}", plan.bits.max);
    } else if (plan.bits != options.bits) {
      tensors[plan.Prefix()] = fmt::format("{}-{}", plan.bits.min, plan.bits.max);
    }
  }
  return tensors;
}

}  // namespace

Json MakeOutputConfig(const Checkpoint& source, const QuantizeOptions& options,
                      const QuantizePlan& plan) {
  Json config = source.config();
  config["anybcq"] = {
      {"seed_precision", options.bits.min},
      {"parent_precision", options.bits.max},
      {"group_size", CommonGroupSize(plan.tensors)},
      {"arch_config",
       {{"model_name", plan.names.decoder},
        {"layers_name", "layers"},
        {"module_names", plan.names.modules}}},
  };
  std::filesystem::path source_path(source.path());
  if (!source_path.has_filename()) source_path = source_path.parent_path();  // "folder/"
  config["bitdial"] = {
      {"version", BITDIAL_VERSION},
      {"method", options.method},
      {"source", source_path.filename().string()},
      {"tensors", TensorBits(options, plan.tensors)},
  };
  return config;
}

}  // namespace bitdial::quant
