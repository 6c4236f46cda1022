#include "quant/container/checkpoint.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "kernels/core/check.h"
#include "kernels/core/nearest.h"
#include "quant/container/file_errors.h"
#include "quant/container/gguf_checkpoint.h"
#include "quant/container/hf_checkpoint.h"
#include "quant/container/path_exists.h"

namespace bitdial::quant {
namespace {

// The planes of one word of codes, and the most planes any kernel reads.
constexpr int64_t kWordBits = 32;
constexpr int kMaxBits = 8;

std::string ToString(const Shape& shape) {
  std::string text = "[";
  for (int axis = 0; axis < shape.rank; ++axis)
    text += fmt::format("{}{}", axis > 0 ? ", " : "", shape[axis]);
  return text + "]";
}

bool HasOnlyPositiveDims(const Shape& shape) {
  return std::all_of(shape.dims.begin(), shape.dims.begin() + shape.rank,
                     [](int64_t dim) { return dim > 0; });
}

// A tensor of planes or scales, which must lie in the file as the kernels read it.
absl::StatusOr<TensorView> ReadInPlace(const Checkpoint& checkpoint, const std::string& name) {
  BITDIAL_ASSIGN_OR_RETURN(DenseTensor tensor, checkpoint.ReadDense(name));
  if (tensor.storage.data() != nullptr) {
    return DataLoss(
        "{}: tensor \"{}\" is not aligned for {}; write the checkpoint again with a current "
        "safetensors",
        checkpoint.path(), name, Name(tensor.view.dtype));
  }
  return tensor.view;
}

absl::StatusOr<TensorView> ReadScales(const Checkpoint& checkpoint, const std::string& name,
                                      const Shape& expected) {
  BITDIAL_ASSIGN_OR_RETURN(const TensorView view, ReadInPlace(checkpoint, name));
  if (view.dtype != DType::kF16 && view.dtype != DType::kF32) {
    return DataLoss("{}: tensor \"{}\" is {}, expected f16 or f32", checkpoint.path(), name,
                    Name(view.dtype));
  }
  if (view.shape != expected) {
    return DataLoss("{}: tensor \"{}\" has shape {}, expected {}", checkpoint.path(), name,
                    ToString(view.shape), ToString(expected));
  }
  return view;
}

// The smallest bits with an alpha set; every one from there to num_planes must be there.
absl::StatusOr<int> FindLowestBits(const Checkpoint& checkpoint, const std::string& prefix,
                                   int num_planes) {
  int lowest = num_planes;
  while (lowest > 1 && checkpoint.Has(fmt::format("{}.alpha_{}", prefix, lowest - 1))) --lowest;
  int missing = checkpoint.Has(fmt::format("{}.alpha_{}", prefix, num_planes)) ? 0 : num_planes;
  for (int bits = 1; bits < lowest - 1 && missing == 0; ++bits) {
    if (checkpoint.Has(fmt::format("{}.alpha_{}", prefix, bits))) missing = lowest - 1;
  }
  // A linear with the model's own range of bits must have all of it.
  const QuantizationInfo* model = checkpoint.quantization();
  const bool has_own_bits =
      lowest == num_planes || model == nullptr || model->max_bits != num_planes;
  if (missing == 0 && !has_own_bits && lowest > model->min_bits) missing = lowest - 1;
  if (missing != 0) {
    return NotFound("{}: tensor \"{}.alpha_{}\" is missing ({} planes are there)",
                    checkpoint.path(), prefix, missing, num_planes);
  }
  return lowest;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& path) {
  BITDIAL_ASSIGN_OR_RETURN(const bool is_there, PathExists(path));
  if (!is_there) {
    return NotFound(
        "{}: no such file or folder; expected a Hugging Face folder, a quantized folder or a .gguf "
        "file",
        path);
  }
  std::error_code ignored;
  const bool is_folder = std::filesystem::is_directory(path, ignored);
  // Else every file in it would seem to be missing.
  if (is_folder && ::faccessat(AT_FDCWD, path.c_str(), R_OK | X_OK, AT_EACCESS) != 0)
    return FileError(errno, path, "open");
  auto checkpoint = is_folder ? HfCheckpoint::Open(path) : GgufCheckpoint::Open(path);
  if (absl::IsInvalidArgument(checkpoint.status()))  // a value of the file, not one of the caller
    return absl::DataLossError(checkpoint.status().message());
  return checkpoint;
}

const TensorInfo* Checkpoint::Find(const std::string& name) const {
  const std::vector<TensorInfo>& all = tensors();
  const auto found = std::lower_bound(
      all.begin(), all.end(), name,
      [](const TensorInfo& info, const std::string& key) { return info.name < key; });
  return found != all.end() && found->name == name ? &*found : nullptr;
}

absl::Status Checkpoint::NoSuchTensor(const std::string& name) const {
  std::vector<std::string> names;
  for (const TensorInfo& info : tensors()) names.push_back(info.name);
  return NotFound("{}: no tensor \"{}\" among {}{}", path_, name, names.size(),
                  DidYouMean(name, names));
}

absl::StatusOr<kernels::CanonicalBcq> Checkpoint::ReadBcq(const std::string& prefix) const {
  const std::string codes_name = prefix + ".qweight";
  kernels::CanonicalBcq bcq;
  BITDIAL_ASSIGN_OR_RETURN(bcq.codes, ReadInPlace(*this, codes_name));
  const Shape& codes = bcq.codes.shape;
  if (bcq.codes.dtype != DType::kI32) {
    return DataLoss("{}: tensor \"{}\" is {}, expected i32", path_, codes_name,
                    Name(bcq.codes.dtype));
  }
  if (codes.rank != 3 || !HasOnlyPositiveDims(codes) || codes[1] > kMaxBits) {
    return DataLoss(
        "{}: tensor \"{}\" has shape {}, expected [in_features / 32, 1 to {} planes, out_features]",
        path_, codes_name, ToString(codes), kMaxBits);
  }
  const int64_t in_features = codes[0] * kWordBits;
  const int num_planes = static_cast<int>(codes[1]);
  const int64_t out_features = codes[2];

  BITDIAL_ASSIGN_OR_RETURN(const int lowest, FindLowestBits(*this, prefix, num_planes));
  const std::string alpha_name = fmt::format("{}.alpha_{}", prefix, num_planes);
  BITDIAL_ASSIGN_OR_RETURN(const TensorView alpha, ReadInPlace(*this, alpha_name));
  const int64_t num_groups = alpha.shape.rank == 3 ? alpha.shape[0] : 0;
  if (num_groups < 1 || in_features % num_groups != 0) {
    return DataLoss(
        "{}: tensor \"{}\" has shape {}, its first of three dimensions must divide in_features {}",
        path_, alpha_name, ToString(alpha.shape), in_features);
  }
  bcq.group_size = in_features / num_groups;

  const auto beta_name = [&](int bits) { return fmt::format("{}.beta_{}", prefix, bits); };
  bool has_beta = false;
  for (int bits = lowest; bits <= num_planes; ++bits) has_beta = has_beta || Has(beta_name(bits));
  for (int bits = lowest; bits <= num_planes; ++bits) {
    kernels::CanonicalScales scales;
    scales.bits = bits;
    BITDIAL_ASSIGN_OR_RETURN(scales.alpha,
                             ReadScales(*this, fmt::format("{}.alpha_{}", prefix, bits),
                                        {num_groups, bits, out_features}));
    if (has_beta) {
      BITDIAL_ASSIGN_OR_RETURN(scales.beta,
                               ReadScales(*this, beta_name(bits), {num_groups, out_features}));
    }
    bcq.scales.push_back(scales);
  }
  return bcq;
}

void ReadRowAsF32(const TensorView& matrix, int64_t row, float* out) {
  BITDIAL_CHECK(matrix.shape.rank == 2 && row >= 0 && row < matrix.shape[0]);
  const int64_t cols = matrix.shape[1];
  switch (matrix.dtype) {
    case DType::kF32:
      std::memcpy(out, matrix.As<float>() + row * cols, static_cast<size_t>(cols) * sizeof(float));
      return;
    case DType::kF16:
      for (int64_t col = 0; col < cols; ++col)
        out[col] = F16ToF32(matrix.As<uint16_t>()[row * cols + col]);
      return;
    case DType::kBF16:
      for (int64_t col = 0; col < cols; ++col)
        out[col] = BF16ToF32(matrix.As<uint16_t>()[row * cols + col]);
      return;
    case DType::kI32:
    case DType::kU8:
      break;
  }
  BITDIAL_CHECK(false);  // codes are not dense weights; loaders ask for the dtype first
}

}  // namespace bitdial::quant
