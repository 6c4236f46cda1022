#include "kernels/kernel_table.h"

#include <array>
#include <cstdlib>
#include <utility>

#include "kernels/register_all.h"

namespace bitdial::kernels {
namespace {

// Worst first: a later one is preferred where the machine supports it.
constexpr std::array kBackends = {Backend::kCpuRef, Backend::kCpuAvx2, Backend::kCpuAvx512,
                                  Backend::kCuda};

// "" when the backend can run here, else what is missing.
std::string MissingFor(Backend backend, const CpuFeatures& features) {
  switch (backend) {
    case Backend::kCpuRef:
      return "";
    case Backend::kCpuAvx2:
      return features.avx2 ? "" : "this processor lacks AVX2, FMA or F16C";
    case Backend::kCpuAvx512:
      return features.avx512 ? "" : "this processor lacks AVX-512 F, BW, DQ or VL";
    case Backend::kCuda:
      return "this build has no CUDA kernels";
  }
  return "unknown backend";
}

bool HasExtension(Extension extension, const CpuFeatures& features) {
  return extension == Extension::kNone || (features.avx512_vbmi && features.avx512_vnni);
}

std::string KnownBackends() {
  std::string names;
  for (Backend backend : kBackends)
    names += (names.empty() ? "" : ", ") + std::string(Name(backend));
  return names;
}

bool Answers(const KernelKey& row, const KernelKey& asked) {
  return row.op == asked.op && row.weight_format == asked.weight_format &&
         row.kv_format == asked.kv_format && (row.role == asked.role || row.role == Role::kAny);
}

std::string Describe(const KernelKey& key, const KernelShape& shape) {
  std::string text = fmt::format("{} (weights {}, kv {}, role {})", Name(key.op),
                                 Name(key.weight_format), Name(key.kv_format), Name(key.role));
  const auto add = [&text](const char* name, int64_t value) {
    if (value != 0) text += fmt::format(", {} {}", name, value);
  };
  add("in_features", shape.in_features);
  add("out_features", shape.out_features);
  add("group_size", shape.group_size);
  add("max_bits", shape.max_bits);
  if (key.weight_format == WeightFormat::kDense)
    text += fmt::format(", dtype {}", Name(shape.weight_dtype));
  add("num_heads", shape.num_heads);
  add("num_kv_heads", shape.num_kv_heads);
  add("head_dim", shape.head_dim);
  return text;
}

}  // namespace

const char* Name(Op op) {
  switch (op) {
    case Op::kLinear:
      return "linear";
    case Op::kEmbedding:
      return "embedding";
    case Op::kRmsNorm:
      return "rms_norm";
    case Op::kRope:
      return "rope";
    case Op::kKvAppend:
      return "kv_append";
    case Op::kAttention:
      return "attention";
    case Op::kSiluMul:
      return "silu_mul";
    case Op::kAdd:
      return "add";
    case Op::kLayerNorm:
      return "layer_norm";
    case Op::kRelu:
      return "relu";
    case Op::kGelu:
      return "gelu";
  }
  return "?";
}

const char* Name(WeightFormat format) {
  switch (format) {
    case WeightFormat::kNone:
      return "none";
    case WeightFormat::kDense:
      return "dense";
    case WeightFormat::kBcq:
      return "bcq";
    case WeightFormat::kInt8:
      return "int8";
  }
  return "?";
}

const char* Name(KvFormat format) {
  switch (format) {
    case KvFormat::kNone:
      return "none";
    case KvFormat::kF32:
      return "f32";
    case KvFormat::kF16:
      return "f16";
  }
  return "?";
}

const char* Name(Role role) {
  switch (role) {
    case Role::kAny:
      return "any";
    case Role::kPrompt:
      return "prompt";
    case Role::kDecode:
      return "decode";
  }
  return "?";
}

const char* Name(Backend backend) {
  switch (backend) {
    case Backend::kCpuRef:
      return "cpu_ref";
    case Backend::kCpuAvx2:
      return "cpu_avx2";
    case Backend::kCpuAvx512:
      return "cpu_avx512";
    case Backend::kCuda:
      return "cuda";
  }
  return "?";
}

const char* Name(Numerics numerics) {
  switch (numerics) {
    case Numerics::kExact:
      return "exact";
    case Numerics::kInt16:
      return "int16";
    case Numerics::kInt8:
      return "int8";
  }
  return "?";
}

absl::StatusOr<KernelTable> KernelTable::Create(const CpuFeatures& features,
                                                const std::string& forced_backend,
                                                Numerics numerics) {
  KernelTable table;
  table.features_ = features;
  table.numerics_ = numerics;
  if (forced_backend.empty()) {
    for (Backend backend : kBackends) {
      if (MissingFor(backend, features).empty()) table.backend_ = backend;
    }
    return table;
  }
  table.is_forced_ = true;
  for (Backend backend : kBackends) {
    if (forced_backend != Name(backend)) continue;
    if (const std::string missing = MissingFor(backend, features); !missing.empty()) {
      return FailedPrecondition(
          "forced backend {}: {}; unset BITDIAL_FORCE_BACKEND or choose another", forced_backend,
          missing);
    }
    table.backend_ = backend;
    return table;
  }
  return InvalidArgument("forced backend \"{}\" is unknown; known are {}", forced_backend,
                         KnownBackends());
}

absl::StatusOr<KernelTable> KernelTable::CreateFromEnvironment(Numerics numerics) {
  const char* forced = std::getenv("BITDIAL_FORCE_BACKEND");
  return Create(DetectCpuFeatures(), forced == nullptr ? "" : forced, numerics);
}

std::string KernelTable::SlowReason() const {
  if (backend_ != Backend::kCpuRef || is_forced_) return "";
  return MissingFor(Backend::kCpuAvx2, features_) +
         ": the reference kernels run, many times slower than those for AVX2";
}

bool KernelTable::IsRunnable(const KernelRow& row) const {
  if (is_forced_ && row.backend != backend_ && row.backend != Backend::kCpuRef) return false;
  return MissingFor(row.backend, features_).empty() && HasExtension(row.extension, features_);
}

std::span<const KernelRow> KernelTable::rows() const { return AllRows(); }

absl::StatusOr<const KernelRow*> KernelTable::Find(const KernelKey& key,
                                                   const KernelShape& shape) const {
  const KernelRow* best = nullptr;
  std::string reasons;
  const auto rank = [](const KernelRow& row) { return std::pair(row.numerics, row.backend); };
  for (const KernelRow& row : AllRows()) {
    if (!Answers(row.key, key) || row.numerics > numerics_) continue;
    const std::string refusal = IsRunnable(row) ? row.supports(shape) : "not runnable here";
    if (!refusal.empty()) {
      reasons += fmt::format("\n  {}: {}", row.name, refusal);
    } else if (best == nullptr || rank(row) > rank(*best)) {
      best = &row;
    }
  }
  if (best != nullptr) return best;
  return Unimplemented(
      "no kernel for {}{}", Describe(key, shape),
      reasons.empty() ? ": this build has no row for the key" : "; candidates:" + reasons);
}

}  // namespace bitdial::kernels
