#include "quant/methods/quantize_job.h"

#include <chrono>
#include <cmath>
#include <map>

#include "quant/container/gguf_file.h"
#include "quant/container/safetensors_writer.h"
#include "quant/methods/output_config.h"
#include "quant/methods/output_folder.h"
#include "quant/methods/tensor_plan.h"
#include "quant/methods/tensor_quantizer.h"

namespace bitdial::quant {
namespace {

constexpr const char* kCopiedFiles[] = {
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "vocab.gguf",
};

absl::Status CopyTokenizer(const Checkpoint& source, const OutputFolder& folder) {
  if (source.form() == CheckpointForm::kGguf) {
    BITDIAL_ASSIGN_OR_RETURN(const auto gguf, GgufFile::Open(source.path()));
    BITDIAL_RETURN_IF_ERROR(WriteVocabGguf(*gguf, folder.PathOf("vocab.gguf")));
    return folder.WriteFile("generation_config.json", source.generation_config().dump(2) + "\n");
  }
  for (const char* name : kCopiedFiles) {
    absl::StatusOr<bool> copied = folder.CopyFile(source.path(), name);
    if (!copied.ok()) return copied.status();
  }
  return absl::OkStatus();
}

template <typename T>
std::span<const std::byte> Bytes(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

// One run: what every step needs, and the report as it grows.
class Job {
 public:
  Job(const Checkpoint& source, const MethodInfo& method, const QuantizePlan& plan,
      ThreadPool& pool, const ProgressFn& progress, SafetensorsWriter& writer,
      QuantizeReport& report)
      : source_(source),
        method_(method),
        pool_(pool),
        progress_(progress),
        writer_(writer),
        report_(report) {
    for (const TensorPlan& tensor : plan.tensors) state_.total += tensor.shape.NumElements();
  }

  absl::Status Run(const TensorPlan& plan) {
    state_.tensor = plan.name;
    BITDIAL_ASSIGN_OR_RETURN(const DenseTensor tensor, source_.ReadDense(plan.name));
    const int64_t bytes_before = report_.num_bytes;
    report_.num_weights += plan.shape.NumElements();
    BITDIAL_RETURN_IF_ERROR(plan.is_quantized() ? RunQuantized(plan, tensor.view)
                                                : RunCopy(plan, tensor.view));
    if (plan.shape.rank == 2) {
      TensorReport& tensor_report = report_.tensors.back();
      tensor_report.num_bytes = report_.num_bytes - bytes_before;
      tensor_report.bits_per_weight = 8.0 * static_cast<double>(tensor_report.num_bytes) /
                                      static_cast<double>(plan.shape.NumElements());
    }
    source_.Forget(plan.name);
    return absl::OkStatus();
  }

  // Errors of the linears that hold the whole range, weighted by their energy.
  void Total() {
    for (const auto& [bits, sum] : sums_) {
      report_.totals.push_back(
          {.bits = bits,
           .bits_per_weight = sum.bits / sum.num_weights,
           .relative_error = sum.squared_error == 0 ? 0 : std::sqrt(sum.squared_error / sum.energy),
           .max_error = sum.max_error});
    }
  }

 private:
  struct Sum {
    double num_weights = 0, bits = 0, energy = 0, squared_error = 0, max_error = 0;
  };

  bool Advance(int64_t num_weights) {
    state_.done += num_weights;
    return progress_ == nullptr || progress_(state_);
  }

  TensorReport& AddReport(const TensorPlan& plan) {
    report_.tensors.push_back({.name = plan.name,
                               .out_features = plan.shape[0],
                               .in_features = plan.shape[1],
                               .group_size = plan.group_size,
                               .why_dense = plan.why_dense,
                               .precisions = {}});
    return report_.tensors.back();
  }

  absl::Status Append(const std::string& name, std::span<const std::byte> bytes) {
    report_.num_bytes += static_cast<int64_t>(bytes.size());
    return writer_.Append(name, bytes);
  }

  absl::Status RunCopy(const TensorPlan& plan, const TensorView& view) {
    if (view.dtype != plan.dtype) {
      return Internal("tensor \"{}\" was planned as {} but read as {}", plan.name, Name(plan.dtype),
                      Name(view.dtype));
    }
    if (const int64_t bad = FindNonFinite(view); bad >= 0) {
      return DataLoss("tensor \"{}\": element {} (counted row by row) is not finite", plan.name,
                      bad);
    }
    if (plan.shape.rank == 2) AddReport(plan);
    BITDIAL_RETURN_IF_ERROR(Append(plan.name, std::span(view.data, view.NumBytes())));
    return Advance(plan.shape.NumElements()) ? absl::OkStatus()
                                             : absl::CancelledError("quantization was stopped");
  }

  absl::Status RunQuantized(const TensorPlan& plan, const TensorView& view) {
    BITDIAL_ASSIGN_OR_RETURN(const QuantizedTensor tensor,
                             QuantizeTensor(view, plan, method_, pool_, [&](int64_t num_weights) {
                               return Advance(num_weights);
                             }));
    const std::string prefix = plan.Prefix();
    BITDIAL_RETURN_IF_ERROR(Append(prefix + ".qweight", Bytes(tensor.codes)));
    for (const QuantizedScales& scales : tensor.scales) {
      BITDIAL_RETURN_IF_ERROR(
          Append(fmt::format("{}.alpha_{}", prefix, scales.bits), Bytes(scales.alpha)));
      BITDIAL_RETURN_IF_ERROR(
          Append(fmt::format("{}.beta_{}", prefix, scales.bits), Bytes(scales.beta)));
    }
    AddReport(plan).precisions = tensor.precisions;
    if (plan.bits == report_.bits) AddToTotals(plan, tensor);
    return absl::OkStatus();
  }

  void AddToTotals(const TensorPlan& plan, const QuantizedTensor& tensor) {
    const auto num_weights = static_cast<double>(plan.shape.NumElements());
    for (const PrecisionReport& precision : tensor.precisions) {
      Sum& sum = sums_[precision.bits];
      sum.num_weights += num_weights;
      sum.bits += precision.bits_per_weight * num_weights;
      sum.energy += tensor.sum_of_squares;
      sum.squared_error +=
          precision.relative_error * precision.relative_error * tensor.sum_of_squares;
      sum.max_error = std::max(sum.max_error, precision.max_error);
    }
  }

  const Checkpoint& source_;
  const MethodInfo& method_;
  ThreadPool& pool_;
  const ProgressFn& progress_;
  SafetensorsWriter& writer_;
  QuantizeReport& report_;
  QuantizeProgress state_;
  std::map<int, Sum> sums_;
};

}  // namespace

absl::StatusOr<QuantizeReport> Quantize(const Checkpoint& source, const QuantizeOptions& options,
                                        ThreadPool& pool, const ProgressFn& progress) {
  const auto start = std::chrono::steady_clock::now();
  BITDIAL_ASSIGN_OR_RETURN(const MethodInfo* method, FindMethod(options.method));
  BITDIAL_ASSIGN_OR_RETURN(const QuantizePlan plan, PlanTensors(source, options));
  BITDIAL_ASSIGN_OR_RETURN(const std::unique_ptr<OutputFolder> folder,
                           OutputFolder::Create(options.output, options.overwrite));

  QuantizeReport report{.output = options.output,
                        .method = options.method,
                        .bits = options.bits,
                        .tensors = {},
                        .totals = {},
                        .notes = plan.notes};
  for (const std::string& stale : folder->removed()) {
    report.notes.push_back(fmt::format("removed {}, left by a run that was killed", stale));
  }
  BITDIAL_RETURN_IF_ERROR(
      folder->WriteFile("config.json", MakeOutputConfig(source, options, plan).dump(2) + "\n"));
  BITDIAL_RETURN_IF_ERROR(CopyTokenizer(source, *folder));
  BITDIAL_ASSIGN_OR_RETURN(
      const std::unique_ptr<SafetensorsWriter> writer,
      SafetensorsWriter::Create(folder->PathOf("model.safetensors"), Declare(plan.tensors)));
  Job job(source, *method, plan, pool, progress, *writer, report);
  for (const TensorPlan& tensor : plan.tensors) {
    if (absl::Status status = job.Run(tensor); !status.ok()) return Annotate(status, source.path());
  }
  BITDIAL_RETURN_IF_ERROR(writer->Finish());
  BITDIAL_RETURN_IF_ERROR(folder->Commit());
  job.Total();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace bitdial::quant
