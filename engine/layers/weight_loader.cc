#include "engine/layers/weight_loader.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "engine/layers/linear_timer.h"
#include "kernels/formats/bcq/i8.h"
#include "kernels/formats/bcq/i8_scales.h"
#include "kernels/formats/int8/from_bcq.h"

namespace bitdial::engine {
namespace {

constexpr int64_t kScanElements = 1 << 20;  // per task: 2-4 MB, a few hundred microseconds

std::string ToString(const Shape& shape) {
  std::string text = "[";
  for (int axis = 0; axis < shape.rank; ++axis) {
    text += (axis == 0 ? "" : ", ") + std::to_string(shape[axis]);
  }
  return text + "]";
}

// Index of the first element in [begin, end) whose exponent bits are all ones, else end.
template <typename Word>
int64_t FindNonFinite(const Word* words, int64_t begin, int64_t end, Word exponent_mask) {
  constexpr int64_t kBlock = 4096;  // branch-free inside, so that it vectorizes
  for (int64_t block = begin; block < end; block += kBlock) {
    const int64_t block_end = std::min(end, block + kBlock);
    int num_bad = 0;
    for (int64_t i = block; i < block_end; ++i)
      num_bad |= (words[i] & exponent_mask) == exponent_mask;
    if (num_bad == 0) continue;
    for (int64_t i = block; i < block_end; ++i) {
      if ((words[i] & exponent_mask) == exponent_mask) return i;
    }
  }
  return end;
}

int64_t FindNonFinite(const TensorView& view, int64_t begin, int64_t end) {
  switch (view.dtype) {
    case DType::kF32:
      return FindNonFinite<uint32_t>(view.As<uint32_t>(), begin, end, 0x7f800000u);
    case DType::kF16:
      return FindNonFinite<uint16_t>(view.As<uint16_t>(), begin, end, 0x7c00u);
    case DType::kBF16:
      return FindNonFinite<uint16_t>(view.As<uint16_t>(), begin, end, 0x7f80u);
    case DType::kI32:
    case DType::kU8:
      break;
  }
  return end;
}

// The dense tensor is there, of exactly this shape and a floating type. Reads nothing of it.
absl::Status CheckFloats(const quant::Checkpoint& checkpoint, const std::string& name,
                         const Shape& expected) {
  const quant::TensorInfo* info = checkpoint.Find(name);
  if (info == nullptr) return checkpoint.ReadDense(name).status();  // names the nearest
  const bool is_float = info->type != Name(DType::kI32) && info->type != Name(DType::kU8);
  if (info->shape == expected && is_float) return absl::OkStatus();
  return DataLoss("{}: tensor \"{}\": is {} {}, config.json says float {}", checkpoint.path(), name,
                  info->type, ToString(info->shape), ToString(expected));
}

absl::StatusOr<quant::DenseTensor> ReadFloats(const quant::Checkpoint& checkpoint,
                                              const std::string& name, const Shape& expected) {
  BITDIAL_RETURN_IF_ERROR(CheckFloats(checkpoint, name, expected));
  return checkpoint.ReadDense(name);
}

float ElementAsF32(const TensorView& view, int64_t i) {
  if (view.dtype == DType::kF32) return view.As<float>()[i];
  const uint16_t half = view.As<uint16_t>()[i];
  return view.dtype == DType::kF16 ? F16ToF32(half) : BF16ToF32(half);
}

}  // namespace

absl::Status CheckFinite(const std::string& name, const TensorView& view, ThreadPool& pool) {
  const int64_t count = view.shape.NumElements();
  std::atomic<int64_t> first_bad{count};
  pool.ParallelFor((count + kScanElements - 1) / kScanElements, [&](int64_t task) {
    const int64_t begin = task * kScanElements, end = std::min(count, begin + kScanElements);
    const int64_t bad = FindNonFinite(view, begin, end);
    int64_t known = first_bad.load();
    while (bad < end && bad < known && !first_bad.compare_exchange_weak(known, bad)) {
    }
  });
  if (first_bad == count) return absl::OkStatus();
  return DataLoss(
      "tensor \"{}\": element {} of {} is {}: the weights are damaged, export them again", name,
      first_bad.load(), ToString(view.shape), ElementAsF32(view, first_bad));
}

int64_t Weight::NumBytes() const {
  if (format == kernels::WeightFormat::kDense) return static_cast<int64_t>(dense.w.NumBytes());
  size_t bytes = bcq.codes.num_bytes() + int8.NumBytes();
  for (const kernels::BcqScales& set : bcq.scales) bytes += set.NumBytes();
  return static_cast<int64_t>(bytes);
}

kernels::KernelShape Weight::shape() const {
  kernels::KernelShape shape;
  shape.in_features = in_features;
  shape.out_features = out_features;
  switch (format) {
    case kernels::WeightFormat::kNone:
      break;
    case kernels::WeightFormat::kDense:
      shape.weight_dtype = dense.w.dtype;
      break;
    case kernels::WeightFormat::kBcq:
      shape.group_size = bcq.group_size;
      shape.max_bits = bcq.max_bits;
      break;
    case kernels::WeightFormat::kInt8:
      shape.group_size = int8.span_inputs;
      break;
  }
  return shape;
}

absl::StatusOr<std::vector<float>> WeightLoader::ReadVector(const std::string& name, int64_t size) {
  if (only_checks()) {
    BITDIAL_RETURN_IF_ERROR(CheckFloats(checkpoint_, name, Shape{size}));
    return std::vector<float>();
  }
  BITDIAL_ASSIGN_OR_RETURN(const quant::DenseTensor tensor,
                           ReadFloats(checkpoint_, name, Shape{size}));
  BITDIAL_RETURN_IF_ERROR(Annotate(CheckFinite(name, tensor.view, *pool_), checkpoint_.path()));
  std::vector<float> values(static_cast<size_t>(size));
  for (int64_t i = 0; i < size; ++i) values[static_cast<size_t>(i)] = ElementAsF32(tensor.view, i);
  totals_.num_parameters += size;
  totals_.weight_bytes += size * static_cast<int64_t>(sizeof(float));
  return values;
}

absl::StatusOr<std::vector<float>> WeightLoader::ReadNormWeight(const std::string& name,
                                                                int64_t size) {
  BITDIAL_ASSIGN_OR_RETURN(const quant::DenseTensor tensor,
                           ReadFloats(checkpoint_, name, Shape{size}));
  int64_t num_zeros = 0;
  while (num_zeros < size && ElementAsF32(tensor.view, num_zeros) == 0) ++num_zeros;
  if (num_zeros < size) return ReadVector(name, size);
  return DataLoss(
      "{}: tensor \"{}\": is all zeros: an incomplete copy? Copy the model again, and compare "
      "checksums",
      checkpoint_.path(), name);
}

absl::StatusOr<std::shared_ptr<const Weight>> WeightLoader::ReadWeight(const std::string& prefix,
                                                                       int64_t out_features,
                                                                       int64_t in_features,
                                                                       WeightUse use) {
  auto weight = std::make_shared<Weight>();
  weight->name = prefix;
  weight->in_features = in_features;
  weight->out_features = out_features;
  if (only_checks()) {
    if (checkpoint_.IsBcq(prefix)) return weight;
    BITDIAL_RETURN_IF_ERROR(
        CheckFloats(checkpoint_, prefix + ".weight", Shape{out_features, in_features}));
    return weight;
  }
  BITDIAL_RETURN_IF_ERROR(checkpoint_.IsBcq(prefix) ? ReadBcqWeight(*weight, use)
                                                    : ReadDenseWeight(*weight));
  totals_.num_parameters += out_features * in_features;
  totals_.weight_bytes += weight->NumBytes();
  return weight;
}

absl::Status WeightLoader::ReadDenseWeight(Weight& weight) {
  const std::string name = weight.name + ".weight";
  BITDIAL_ASSIGN_OR_RETURN(
      quant::DenseTensor tensor,
      ReadFloats(checkpoint_, name, Shape{weight.out_features, weight.in_features}));
  BITDIAL_RETURN_IF_ERROR(Annotate(CheckFinite(name, tensor.view, *pool_), checkpoint_.path()));
  weight.format = kernels::WeightFormat::kDense;
  weight.dense = {.w = tensor.view, .storage = std::move(tensor.storage)};
  if (weight.dense.storage.num_bytes() > 0)
    checkpoint_.Forget(name);  // the view is of our own copy
  return absl::OkStatus();
}

absl::Status WeightLoader::ReadBcqWeight(Weight& weight, WeightUse use) {
  BITDIAL_ASSIGN_OR_RETURN(const kernels::CanonicalBcq canonical, checkpoint_.ReadBcq(weight.name));
  const std::string& path = checkpoint_.path();
  for (const kernels::CanonicalScales& set : canonical.scales) {
    const auto check = [&](const char* kind, const TensorView& view) {
      if (view.data == nullptr) return absl::OkStatus();  // no beta: zeros
      return Annotate(
          CheckFinite(fmt::format("{}.{}_{}", weight.name, kind, set.bits), view, *pool_), path);
    };
    BITDIAL_RETURN_IF_ERROR(check("alpha", set.alpha));
    BITDIAL_RETURN_IF_ERROR(check("beta", set.beta));
  }
  auto prepared = kernels::PrepareBcq(canonical, *pool_);
  if (!prepared.ok()) return Annotate(prepared.status(), path + ": " + weight.name);
  weight.format = kernels::WeightFormat::kBcq;
  weight.bcq = std::move(prepared).value();
  if (weight.bcq.out_features != weight.out_features ||
      weight.bcq.in_features != weight.in_features) {
    return DataLoss("{}: linear \"{}\": bit-planes are [{}, {}], config.json says [{}, {}]", path,
                    weight.name, weight.bcq.out_features, weight.bcq.in_features,
                    weight.out_features, weight.in_features);
  }
  // The kernel layout is a copy: none of the mapped pages will be read again.
  checkpoint_.Forget(weight.name + ".qweight");
  for (const kernels::CanonicalScales& set : canonical.scales) {
    for (const char* kind : {"alpha", "beta"}) {
      checkpoint_.Forget(fmt::format("{}.{}_{}", weight.name, kind, set.bits));
    }
  }
  if (table_->numerics() < kernels::Numerics::kInt8) return absl::OkStatus();
  if (weight.bcq.max_bits > kernels::bcq::kI8MaxPlanes) return absl::OkStatus();
  BITDIAL_RETURN_IF_ERROR(kernels::AddI8Scales(weight.bcq, *pool_));
  if (use == WeightUse::kLookups) return absl::OkStatus();
  for (kernels::BcqScales& set : weight.bcq.scales) set.alpha = Buffer();
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const Weight>> WeightLoader::ForHead(
    std::shared_ptr<const Weight> weight) {
  const bool is_rounded = !only_checks() && table_->numerics() == kernels::Numerics::kInt8 &&
                          weight->format == kernels::WeightFormat::kBcq &&
                          weight->bcq.max_bits > kernels::bcq::kI8MaxPlanes &&
                          weight->bcq.scales.size() == 1;
  if (!is_rounded) return weight;
  auto head = std::make_shared<Weight>();
  head->name = weight->name;
  head->format = kernels::WeightFormat::kInt8;
  head->in_features = weight->in_features;
  head->out_features = weight->out_features;
  BITDIAL_ASSIGN_OR_RETURN(head->int8, kernels::MakeInt8(weight->bcq, *pool_));
  totals_.weight_bytes += head->NumBytes();
  // An untied head's planes go with its last owner.
  if (weight.use_count() == 1) totals_.weight_bytes -= weight->NumBytes();
  return head;
}

absl::StatusOr<const kernels::KernelRow*> WeightLoader::FindRow(const kernels::KernelKey& key,
                                                                const kernels::KernelShape& shape,
                                                                const std::string& what) {
  auto row = table_->Find(key, shape);
  if (!row.ok()) return Annotate(row.status(), checkpoint_.path() + ": " + what);
  totals_.kernel_names.insert((*row)->name);
  return row;
}

absl::StatusOr<LinearKernels> WeightLoader::FindLinear(kernels::Role role, const Weight& weight) {
  if (only_checks()) return LinearKernels{};
  const kernels::KernelKey key{
      .op = kernels::Op::kLinear, .weight_format = weight.format, .role = role};
  const auto candidates = table_->Candidates(key, weight.shape());
  if (!candidates.ok())
    return Annotate(candidates.status(), checkpoint_.path() + ": " + weight.name);
  LinearTimer timer(weight, *pool_);
  const kernels::ChosenRows chosen =
      choices_ == nullptr
          ? kernels::StaticChoice(*candidates)
          : choices_->Choose(*candidates, weight.shape(), pool_->num_threads(),
                             [&timer](const kernels::KernelRow& row, int64_t num_rows) {
                               return timer.Time(row, num_rows);
                             });
  LinearKernels linear{};
  for (size_t size = 0; size < linear.size(); ++size) {
    const kernels::KernelRow& row = *chosen[size];
    totals_.kernel_names.insert(row.name);
    linear[size] =
        std::get<kernels::LinearFn>(times_kernels_ ? kernels::TimedForm(row) : row.fn);
  }
  return linear;
}

}  // namespace bitdial::engine
