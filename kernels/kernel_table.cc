#include "kernels/kernel_table.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "kernels/core/nearest.h"
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

std::string MissingFor(Extension extension, const CpuFeatures& features) {
  if (extension == Extension::kNone) return "";
  if (!features.avx512_vbmi || !features.avx512_vnni)
    return "this processor lacks AVX-512 VBMI or VNNI";
  if (extension == Extension::kVbmiVnniAmx && !features.amx_int8)
    return "this processor lacks AMX-INT8, or the system does not let this process use it";
  return "";
}

std::string KnownBackends() {
  std::string names;
  for (Backend backend : kBackends)
    names += (names.empty() ? "" : ", ") + std::string(Name(backend));
  return names;
}

absl::StatusOr<Backend> ForcedBackend(const std::string& name, const CpuFeatures& features) {
  for (Backend backend : kBackends) {
    if (name != Name(backend)) continue;
    const std::string missing = MissingFor(backend, features);
    if (missing.empty()) return backend;
    return FailedPrecondition(
        "forced backend {}: {}; unset BITDIAL_FORCE_BACKEND or choose another", name, missing);
  }
  return InvalidArgument("forced backend \"{}\" is unknown; known are {}", name, KnownBackends());
}

// The parts of "a,b", without spaces around them; empty ones are left out.
std::vector<std::string> SplitAtCommas(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const size_t first = text.find_first_not_of(' ', begin);
    if (first < end) {
      const size_t last = text.find_last_not_of(' ', end - 1);
      parts.push_back(text.substr(first, last + 1 - first));
    }
    begin = end + 1;
  }
  return parts;
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
                                                Numerics numerics,
                                                const std::string& forced_rows) {
  KernelTable table;
  table.features_ = features;
  table.numerics_ = numerics;
  table.is_forced_ = !forced_backend.empty();
  if (table.is_forced_) {
    BITDIAL_ASSIGN_OR_RETURN(table.backend_, ForcedBackend(forced_backend, features));
  } else {
    for (Backend backend : kBackends) {
      if (MissingFor(backend, features).empty()) table.backend_ = backend;
    }
  }
  BITDIAL_RETURN_IF_ERROR(table.ForceRows(forced_rows));
  return table;
}

absl::StatusOr<KernelTable> KernelTable::CreateFromEnvironment(Numerics numerics,
                                                               const std::string& forced_rows) {
  const char* backend = std::getenv("BITDIAL_FORCE_BACKEND");
  const char* rows = std::getenv("BITDIAL_FORCE_KERNEL");
  return Create(DetectCpuFeatures(), backend == nullptr ? "" : backend, numerics,
                forced_rows.empty() && rows != nullptr ? rows : forced_rows);
}

absl::Status KernelTable::ForceRows(const std::string& names) {
  for (const std::string& name : SplitAtCommas(names)) {
    const auto row = std::find_if(rows().begin(), rows().end(),
                                  [&](const KernelRow& known) { return name == known.name; });
    if (row == rows().end()) {
      std::vector<std::string> known;
      for (const KernelRow& other : rows()) known.push_back(other.name);
      return InvalidArgument(
          "forced kernel \"{}\" is unknown (`bitdial doctor --kernels` lists all){}", name,
          DidYouMean(name, known));
    }
    if (const std::string missing = Missing(*row); !missing.empty()) {
      return FailedPrecondition("forced kernel {}: {}; force none or another", name, missing);
    }
    if (row->numerics > numerics_) {
      return FailedPrecondition(
          "forced kernel {} is of class {}, which rounds as numerics {} does, and they are {}; "
          "choose numerics {}, or a kernel of the class that runs",
          name, row->numeric_class, Name(row->numerics), Name(numerics_), Name(row->numerics));
    }
    for (const KernelRow* other : forced_rows_) {
      if (!(other->key == row->key) || std::string(other->numeric_class) != row->numeric_class)
        continue;
      return InvalidArgument(
          "forced kernels {} and {} are of one class, {}: only one of them can run; force one of "
          "them",
          other->name, name, row->numeric_class);
    }
    forced_rows_.push_back(&*row);
  }
  if (forced_rows_.empty() && !names.empty()) {
    return InvalidArgument(
        "forced kernels \"{}\" name none (`bitdial doctor --kernels` lists all); leave it unset "
        "to force none",
        names);
  }
  return absl::OkStatus();
}

absl::Status KernelTable::CheckForcedRowsUsed(const std::set<std::string>& used) const {
  for (const KernelRow* row : forced_rows_) {
    if (used.count(row->name) > 0) continue;
    return InvalidArgument(
        "forced kernel {} runs nothing: no weight or operation here asks for its class, {} ({}, "
        "weights {}, kv {}, role {}, numerics {}), where the numerics are {}; force none, or one "
        "of: {}",
        row->name, row->numeric_class, Name(row->key.op), Name(row->key.weight_format),
        Name(row->key.kv_format), Name(row->key.role), Name(row->numerics), Name(numerics_),
        fmt::join(used, ", "));
  }
  return absl::OkStatus();
}

std::string KernelTable::SlowReason() const {
  if (backend_ != Backend::kCpuRef || is_forced_) return "";
  return MissingFor(Backend::kCpuAvx2, features_) +
         ": the reference kernels run, many times slower than those for AVX2";
}

// "" when the row can run here, else what is missing.
std::string KernelTable::Missing(const KernelRow& row) const {
  if (is_forced_ && row.backend != backend_ && row.backend != Backend::kCpuRef)
    return fmt::format("BITDIAL_FORCE_BACKEND is {}", Name(backend_));
  const std::string missing = MissingFor(row.backend, features_);
  return missing.empty() ? MissingFor(row.extension, features_) : missing;
}

bool KernelTable::IsRunnable(const KernelRow& row) const { return Missing(row).empty(); }

std::span<const KernelRow> KernelTable::rows() const { return AllRows(); }

// The row that decides the numeric class: key, shape, numerics and machine are all it looks at.
absl::StatusOr<const KernelRow*> KernelTable::Best(const KernelKey& key,
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

absl::StatusOr<std::vector<const KernelRow*>> KernelTable::Candidates(
    const KernelKey& key, const KernelShape& shape) const {
  BITDIAL_ASSIGN_OR_RETURN(const KernelRow* best, Best(key, shape));
  const auto may_run = [&](const KernelRow& row) {
    return std::string_view(row.numeric_class) == best->numeric_class && Answers(row.key, key) &&
           IsRunnable(row) && row.supports(shape).empty();
  };
  for (const KernelRow* forced : forced_rows_) {
    if (may_run(*forced)) return std::vector{forced};
  }
  std::vector<const KernelRow*> candidates;
  for (const KernelRow& row : AllRows()) {
    const bool is_last_resort =
        row.backend == Backend::kCpuRef && best->backend != Backend::kCpuRef;
    if (!is_last_resort && may_run(row)) candidates.push_back(&row);
  }
  std::stable_sort(candidates.begin(), candidates.end(), [](const auto* a, const auto* b) {
    return a->backend > b->backend;
  });
  return candidates;
}

absl::StatusOr<const KernelRow*> KernelTable::Find(const KernelKey& key,
                                                   const KernelShape& shape) const {
  BITDIAL_ASSIGN_OR_RETURN(const auto candidates, Candidates(key, shape));
  return candidates.front();
}

}  // namespace bitdial::kernels
