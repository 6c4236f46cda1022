#include "quant/methods/tensor_plan.h"

#include <algorithm>
#include <charconv>

#include "quant/container/leftovers.h"

namespace bitdial::quant {
namespace {

constexpr int64_t kWordBits = 32;  // weights of one plane in a code word
const std::string kWeightSuffix = ".weight";

bool EndsWith(const std::string& text, const std::string& suffix) {
  return text.size() >= suffix.size() &&
         text.compare(text.size() - suffix.size(), suffix.size(), suffix) == 0;
}

absl::StatusOr<int> ParseBits(const std::string& text) {
  int bits = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bits);
  if (error != std::errc() || end != text.data() + text.size() || bits < 1 || bits > kMaxBits) {
    return InvalidArgument("bits \"{}\": expected a whole number from 1 to {}", text, kMaxBits);
  }
  return bits;
}

const TensorOverride* FindOverride(const std::vector<TensorOverride>& overrides,
                                   const std::string& name) {
  for (auto it = overrides.rbegin(); it != overrides.rend(); ++it) {
    if (MatchesGlob(it->pattern, name)) return &*it;
  }
  return nullptr;
}

// The reader takes a tensor with the model's number of planes for one that must hold every
// precision of the model.
absl::Status CheckOverrides(const QuantizeOptions& options) {
  for (const TensorOverride& o : options.overrides) {
    if (o.is_dense || o.bits.max != options.bits.max || o.bits.min == o.bits.max) continue;
    if (o.bits.min <= options.bits.min) continue;
    return InvalidArgument(
        "override \"{}={}-{}\": a range that ends at the model's {} bits must start at {} or "
        "below; use {} alone",
        o.pattern, o.bits.min, o.bits.max, options.bits.max, options.bits.min, o.bits.max);
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const QuantizeOptions& options) {
  if (options.output.empty()) return InvalidArgument("no output folder given");
  const auto is_range = [](const BitRange& bits) {
    return 1 <= bits.min && bits.min <= bits.max && bits.max <= kMaxBits;
  };
  const auto is_one = [&](int bits) { return is_range({bits, bits}); };
  bool are_good = is_range(options.bits) && is_one(options.embed_bits) && is_one(options.head_bits);
  for (const TensorOverride& o : options.overrides)
    are_good = are_good && (o.is_dense || is_range(o.bits));
  if (!are_good) return InvalidArgument("bits must lie in 1 to {}, the smaller first", kMaxBits);
  if (options.group_size < 0 || options.group_size % kWordBits != 0) {
    return InvalidArgument(
        "group_size {} is not a multiple of {}; use 128, 64 or 32, or 0 to choose by tensor",
        options.group_size, kWordBits);
  }
  return CheckOverrides(options);
}

// A multiple of 32 that divides in_features, itself one.
absl::StatusOr<int64_t> ChooseGroupSize(const QuantizeOptions& options, const TensorInfo& info) {
  const int64_t in_features = info.shape[1];
  if (options.group_size == 0) {
    for (const int64_t size : {128, 64}) {
      if (in_features % size == 0) return size;
    }
    return kWordBits;
  }
  if (in_features % options.group_size != 0) {
    return InvalidArgument(
        "tensor \"{}\": group_size {} does not divide in_features {}; use a smaller one, or none "
        "to choose by tensor",
        info.name, options.group_size, in_features);
  }
  return options.group_size;
}

DType CopyDType(const std::string& stored_type) {
  std::string lower = stored_type;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kI32, DType::kU8}) {
    if (lower == Name(dtype)) return dtype;
  }
  return DType::kF32;  // as stored, or what a block type is dequantized to
}

absl::StatusOr<TensorPlan> PlanTensor(const QuantizeOptions& options, const DecoderNames& names,
                                      const TensorInfo& info) {
  TensorPlan plan{.name = info.name, .shape = info.shape, .dtype = CopyDType(info.type)};
  const auto copy = [&](std::string why) {
    plan.why_dense = std::move(why);
    return plan;
  };
  const bool is_embedding = info.name == names.embedding(), is_head = info.name == names.head();
  if (info.shape.rank != 2) return copy("not a matrix");
  if (!is_embedding && !is_head && !names.IsLinear(info.name))
    return copy("not a linear, embedding or head");
  if (plan.dtype == DType::kI32 || plan.dtype == DType::kU8) return copy("integers");
  const TensorOverride* override = FindOverride(options.overrides, info.name);
  if (override != nullptr && override->is_dense) return copy("override");
  if (info.shape[0] < 1 || info.shape[1] < 1 || info.shape[1] % kWordBits != 0) {
    return copy(fmt::format("in_features {} is no multiple of {}", info.shape[1], kWordBits));
  }
  plan.bits = override != nullptr ? override->bits
              : is_embedding      ? BitRange{options.embed_bits, options.embed_bits}
              : is_head           ? BitRange{options.head_bits, options.head_bits}
                                  : options.bits;
  constexpr int kUniformBits = 6;
  plan.is_uniform = (is_embedding || is_head) && plan.bits.min == plan.bits.max &&
                    plan.bits.max >= kUniformBits;
  BITDIAL_ASSIGN_OR_RETURN(plan.group_size, ChooseGroupSize(options, info));
  return plan;
}

}  // namespace

std::string TensorPlan::Prefix() const {
  return EndsWith(name, kWeightSuffix) ? name.substr(0, name.size() - kWeightSuffix.size()) : name;
}

bool MatchesGlob(const std::string& pattern, const std::string& name) {
  // Iterative with one point of return, the last star: linear in pattern * name at worst, no
  // recursion.
  size_t p = 0, n = 0, star = std::string::npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || (pattern[p] != '*' && pattern[p] == name[n]))) {
      ++p, ++n;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (star != std::string::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

absl::StatusOr<BitRange> ParseBitRange(const std::string& text) {
  const size_t dash = text.find('-');
  BitRange range;
  BITDIAL_ASSIGN_OR_RETURN(range.min, ParseBits(text.substr(0, dash)));
  range.max = range.min;
  if (dash != std::string::npos) {
    BITDIAL_ASSIGN_OR_RETURN(range.max, ParseBits(text.substr(dash + 1)));
  }
  if (range.min > range.max) {
    return InvalidArgument("bits \"{}\": the smaller comes first, \"{}-{}\"", text, range.max,
                           range.min);
  }
  return range;
}

absl::StatusOr<TensorOverride> ParseTensorOverride(const std::string& text) {
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0) {
    return InvalidArgument(
        "override \"{}\": expected PATTERN=BITS, PATTERN=MIN-MAX or PATTERN=dense", text);
  }
  TensorOverride result{.pattern = text.substr(0, equals)};
  const std::string value = text.substr(equals + 1);
  result.is_dense = value == "dense";
  if (!result.is_dense) {
    absl::StatusOr<BitRange> bits = ParseBitRange(value);
    if (!bits.ok()) return Annotate(bits.status(), fmt::format("override \"{}\"", text));
    result.bits = *bits;
  }
  return result;
}

absl::StatusOr<QuantizePlan> PlanTensors(const Checkpoint& source, const QuantizeOptions& options) {
  BITDIAL_RETURN_IF_ERROR(CheckOptions(options));
  const auto is_codes = [](const TensorInfo& info) { return EndsWith(info.name, ".qweight"); };
  if (source.quantization() != nullptr ||
      std::any_of(source.tensors().begin(), source.tensors().end(), is_codes)) {
    return FailedPrecondition("{}: is quantized already; quantize the dense model it was made from",
                              source.path());
  }
  BITDIAL_RETURN_IF_ERROR(RefuseLeftovers(source));
  QuantizePlan plan;
  BITDIAL_ASSIGN_OR_RETURN(plan.names, FindDecoderNames(source));
  for (const TensorInfo& info : source.tensors()) {
    if (plan.names.is_tied && info.name == plan.names.head() &&
        source.Has(plan.names.embedding())) {
      plan.notes.push_back(
          "lm_head.weight left out: the head is tied to the embedding, which is stored once");
      continue;
    }
    absl::StatusOr<TensorPlan> tensor = PlanTensor(options, plan.names, info);
    if (!tensor.ok()) return Annotate(tensor.status(), source.path());
    plan.tensors.push_back(*std::move(tensor));
  }
  for (const TensorOverride& o : options.overrides) {
    if (std::none_of(plan.tensors.begin(), plan.tensors.end(), [&](const TensorPlan& tensor) {
          return MatchesGlob(o.pattern, tensor.name);
        })) {
      return InvalidArgument(
          "override \"{}\" matches no tensor of {}; names look like \"{}\"", o.pattern,
          source.path(),
          fmt::format("{}.layers.0.{}.weight", plan.names.decoder, plan.names.modules[0]));
    }
  }
  if (std::none_of(plan.tensors.begin(), plan.tensors.end(),
                   [](const TensorPlan& tensor) { return tensor.is_quantized(); })) {
    return InvalidArgument(
        "{}: no tensor can be quantized: none is named like \"{}.layers.0.{}.weight\" and has "
        "in_features a multiple of {}",
        source.path(), plan.names.decoder, plan.names.modules[0], kWordBits);
  }
  return plan;
}

std::vector<TensorDeclaration> Declare(const std::vector<TensorPlan>& plans) {
  std::vector<TensorDeclaration> all;
  for (const TensorPlan& plan : plans) {
    if (!plan.is_quantized()) {
      all.push_back({plan.name, plan.dtype, plan.shape});
      continue;
    }
    const std::string prefix = plan.Prefix();
    const int64_t out_features = plan.shape[0];
    const int64_t num_groups = plan.shape[1] / plan.group_size;
    all.push_back({prefix + ".qweight",
                   DType::kI32,
                   {plan.shape[1] / kWordBits, plan.bits.max, out_features}});
    for (int bits = plan.bits.min; bits <= plan.bits.max; ++bits) {
      all.push_back({fmt::format("{}.alpha_{}", prefix, bits),
                     DType::kF16,
                     {num_groups, bits, out_features}});
      all.push_back(
          {fmt::format("{}.beta_{}", prefix, bits), DType::kF16, {num_groups, out_features}});
    }
  }
  return all;
}

}  // namespace bitdial::quant
