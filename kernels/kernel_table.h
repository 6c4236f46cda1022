// The list of every kernel, resolved once at load.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "kernels/core/cpu_features.h"
#include "kernels/core/dtype.h"
#include "kernels/core/status.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/elementwise/elementwise.h"
#include "kernels/ops/embedding/embedding.h"
#include "kernels/ops/layer_norm/layer_norm.h"
#include "kernels/ops/linear/linear.h"
#include "kernels/ops/rms_norm/rms_norm.h"
#include "kernels/ops/rope/rope.h"

namespace bitdial::kernels {

enum class Op : uint8_t {
  kLinear,
  kEmbedding,
  kRmsNorm,
  kRope,
  kKvAppend,
  kAttention,
  kSiluMul,
  kAdd,
  kLayerNorm,
  kRelu,
  kGelu,
};
enum class WeightFormat : uint8_t { kNone, kDense, kBcq, kInt8 };
enum class KvFormat : uint8_t { kNone, kF32, kF16 };
// Follows from the token's index alone: < num_prompt_tokens is a prompt row, also when it is recomputed.
// kAny: the op does the same for both.
enum class Role : uint8_t { kAny, kPrompt, kDecode };
enum class Backend : uint8_t { kCpuRef, kCpuAvx2, kCpuAvx512, kCuda };
// What kernels over bit-planes may round.
//   kExact  nothing but fp32 arithmetic
//   kInt16  11 bits for sums of activations of decode rows, with a scale for each span of up to 128
//   kInt8   8 bits for activations, with a scale for each span of up to 128 of them, and for the scales
//           of planes, with a unit for each output and group; a head's weights, to 8 bits
enum class Numerics : uint8_t { kExact, kInt16, kInt8 };  // ascending by how much
// Instructions that a row needs beyond those of its backend.
enum class Extension : uint8_t { kNone, kVbmiVnni, kVbmiVnniAmx };

const char* Name(Op op);
const char* Name(WeightFormat format);
const char* Name(KvFormat format);
const char* Name(Role role);
const char* Name(Backend backend);  // "cpu_ref", "cpu_avx2", "cpu_avx512", "cuda"
const char* Name(Numerics numerics);  // "exact", "int16", "int8"

// What is asked of the table. Role picks the numeric class, never the row count or a timing (invariant 8).
struct KernelKey {
  Op op;
  WeightFormat weight_format = WeightFormat::kNone;
  KvFormat kv_format = KvFormat::kNone;
  Role role = Role::kAny;
  bool operator==(const KernelKey&) const = default;
};

// The preconditions' operands; fields an op does not have stay 0.
//   linear, embedding     in_features (hidden_size for an embedding), out_features (vocab_size);
//                         dense: weight_dtype; BCQ: group_size, max_bits; int8: group_size (of a unit)
//   attention, kv_append  num_heads (attention only), num_kv_heads, head_dim
//   rope                  num_heads, head_dim
//   the others            none: they take any shape
struct KernelShape {
  int64_t in_features = 0;
  int64_t out_features = 0;
  int64_t group_size = 0;
  int max_bits = 0;
  DType weight_dtype = DType::kF32;  // dense formats
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;

  bool operator==(const KernelShape&) const = default;
};

// "" when the kernel takes the shape, else the precondition that fails: "in_features 100 is not a multiple of 32".
using SupportsFn = std::string (*)(const KernelShape&);

// In the order of Op.
using KernelFn = std::variant<LinearFn, EmbeddingFn, RmsNormFn, RopeFn, KvAppendFn, AttentionFn, SiluMulFn, AddFn,
                              LayerNormFn, ReluFn, GeluFn>;

// One kernel. Names parse as <format>_<op>_<activation>[_<tile>]__<backend>, for example bcq_linear_f32_lut4__avx512,
// and are the same string in file, log, test and bench.
struct KernelRow {
  KernelKey key;
  Backend backend;
  const char* name;
  // Rows of one class agree bit for bit on every input; only inside a class may anything else decide which one runs.
  const char* numeric_class;
  SupportsFn supports;
  KernelFn fn;
  Numerics numerics = Numerics::kExact;
  Extension extension = Extension::kNone;
  // Linears: the fewest rows of x it is meant for. Only a hint, for where nothing was measured.
  int64_t min_rows = 1;
};

// Thread     const after Create: any.
class KernelTable {
 public:
  // forced_backend: a Backend name ("cpu_avx2"), usually BITDIAL_FORCE_BACKEND. Then rows of that backend are
  // preferred, cpu_ref fills the gaps, and no row of another backend runs. Empty: the best the machine supports.
  // Errors  INVALID_ARGUMENT  unknown name (lists the known ones)
  //         FAILED_PRECONDITION  known, but this processor or build lacks it (says what is missing)
  // numerics: prefers the rows that round most of those that round no more than this, of whatever
  // backend.
  // forced_rows: names of rows, comma-separated, usually BITDIAL_FORCE_KERNEL. Where one of them is in the class that
  // key, shape and numerics ask for, it runs alone; it never makes another class run.
  // Errors  as for a backend: INVALID_ARGUMENT unknown (names the nearest); FAILED_PRECONDITION not runnable here, or
  //         it rounds more than `numerics` allows.
  static absl::StatusOr<KernelTable> Create(const CpuFeatures& features, const std::string& forced_backend,
                                            Numerics numerics = Numerics::kExact,
                                            const std::string& forced_rows = "");
  // Reads BITDIAL_FORCE_BACKEND and this machine's features, and BITDIAL_FORCE_KERNEL where forced_rows is empty.
  static absl::StatusOr<KernelTable> CreateFromEnvironment(Numerics numerics = Numerics::kExact,
                                                           const std::string& forced_rows = "");

  // The rows that may run the key and the shape: all of one numeric class, which key, shape and numerics choose. Any of
  // them gives the same result, bit for bit, so row counts and timings may choose among them. Best backend first, then
  // in the order of registration. A forced row stands alone; the reference only where there is nothing else, for it is
  // orders of magnitude slower. Never empty.
  // Errors  UNIMPLEMENTED naming key, shape and each row's reason.
  absl::StatusOr<std::vector<const KernelRow*>> Candidates(const KernelKey& key, const KernelShape& shape) const;

  // The first of Candidates.
  absl::StatusOr<const KernelRow*> Find(const KernelKey& key, const KernelShape& shape) const;

  // Find, with the function in its own type: table.FindFn<LinearFn>(key, shape).
  template <typename Fn>
  absl::StatusOr<Fn> FindFn(const KernelKey& key, const KernelShape& shape) const {
    BITDIAL_ASSIGN_OR_RETURN(const KernelRow* row, Find(key, shape));
    return std::get<Fn>(row->fn);
  }

  Backend backend() const { return backend_; }  // the preferred one
  // Why the reference kernels run, which are many times slower than the others; "" where they do
  // not, or where they were forced.
  std::string SlowReason() const;
  Numerics numerics() const { return numerics_; }
  std::span<const KernelRow> rows() const;      // every row of this build, runnable here or not
  bool IsRunnable(const KernelRow& row) const;

  // used: names of the rows that a model took. INVALID_ARGUMENT when a forced row is not among them: it would have had
  // no effect (says its class and when it runs).
  absl::Status CheckForcedRowsUsed(const std::set<std::string>& used) const;

 private:
  absl::StatusOr<const KernelRow*> Best(const KernelKey& key, const KernelShape& shape) const;
  absl::Status ForceRows(const std::string& names);
  std::string Missing(const KernelRow& row) const;

  CpuFeatures features_;
  Backend backend_ = Backend::kCpuRef;
  bool is_forced_ = false;
  Numerics numerics_ = Numerics::kExact;
  std::vector<const KernelRow*> forced_rows_;  // in the order named
};

}  // namespace bitdial::kernels
