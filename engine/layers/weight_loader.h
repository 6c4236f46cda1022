// From a checkpoint's tensors to weights in kernel layout, checked, with the kernel rows that run
// them.
#pragma once

#include <array>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/layers/kernel_choices.h"
#include "kernels/core/thread_pool.h"
#include "kernels/kernel_choice.h"
#include "kernels/kernel_table.h"
#include "kernels/timed_kernel.h"
#include "quant/container/checkpoint.h"

namespace bitdial::engine {

// One matrix [out_features, in_features], dense (usually a view into the mapped file), as bit-planes,
// or of 8 bits.
struct Weight {
  std::string name;  // "model.layers.0.mlp.up_proj", for messages
  kernels::WeightFormat format = kernels::WeightFormat::kDense;
  int64_t in_features = 0;
  int64_t out_features = 0;
  kernels::DenseWeight dense;
  kernels::BcqWeight bcq;
  kernels::Int8Weight int8;

  int64_t NumBytes() const;
  kernels::KernelShape shape() const;
  // What kernels take: the one of the format, the others null.
  const kernels::DenseWeight* AsDense() const {
    return format == kernels::WeightFormat::kDense ? &dense : nullptr;
  }
  const kernels::BcqWeight* AsBcq() const {
    return format == kernels::WeightFormat::kBcq ? &bcq : nullptr;
  }
  const kernels::Int8Weight* AsInt8() const {
    return format == kernels::WeightFormat::kInt8 ? &int8 : nullptr;
  }
};

enum class WeightUse : uint8_t {
  kProducts,  // a linear's
  kLookups,   // an embedding's: rows are looked up, and a tied head multiplies
};
// What runs a linear, for each of kernels::kCallSizes.
using LinearKernels = std::array<kernels::LinearFn, kernels::kCallSizes.size()>;

// What loading adds up for ModelInfo.
struct LoadTotals {
  int64_t num_parameters = 0;
  int64_t weight_bytes = 0;
  std::set<std::string> kernel_names;
};

// Every value that is read is checked to be finite: vectors and scales always, dense matrices by
// one pass over the mapped bytes on all threads (memory speed once cached, else the disk's; the
// first step would have read them anyway).
//
// Owner   Engine::Create. Thread: one at a time.
// Errors  of all: NOT_FOUND or DATA_LOSS naming the tensor; UNIMPLEMENTED no kernel row for it.
class WeightLoader {
 public:
  // choices: chooses among the rows of a class; null: nothing is measured, their order decides.
  // times_kernels: they are found in their timed form.
  WeightLoader(const quant::Checkpoint& checkpoint, const kernels::KernelTable& table,
               ThreadPool& pool, KernelChoices* choices = nullptr, bool times_kernels = false)
      : checkpoint_(checkpoint),
        table_(&table),
        pool_(&pool),
        choices_(choices),
        times_kernels_(times_kernels) {}

  // Only checks that every tensor is there with its shape and a type to read: no weight but norms'
  // is touched, what is returned has no values, and no kernel is looked for. Planes pass unseen.
  explicit WeightLoader(const quant::Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  // A vector of `size` elements as f32.
  absl::StatusOr<std::vector<float>> ReadVector(const std::string& name, int64_t size);

  // A norm's weight: a vector that is not zero throughout. No training leaves such a one, but a
  // file that got its size before its bytes does. Read also by a loader that only checks.
  absl::StatusOr<std::vector<float>> ReadNormWeight(const std::string& name, int64_t size);

  // The matrix `prefix` (".weight", or the AnyBCQ tensors when the checkpoint has them), with what
  // the kernels of `use` read.
  absl::StatusOr<std::shared_ptr<const Weight>> ReadWeight(const std::string& prefix,
                                                           int64_t out_features,
                                                           int64_t in_features, WeightUse use);

  // The weight as a head multiplies with it: where 8 bits may round it and it has one set of more planes
  // than their kernels take, a copy in the format int8; else the weight itself.
  absl::StatusOr<std::shared_ptr<const Weight>> ForHead(std::shared_ptr<const Weight> weight);

  // The best row for the key and shape; `what` stands in the message. The row's name goes into the
  // totals.
  template <typename Fn>
  absl::StatusOr<Fn> FindKernel(const kernels::KernelKey& key, const kernels::KernelShape& shape,
                                const std::string& what) {
    if (only_checks()) return Fn{nullptr};
    BITDIAL_ASSIGN_OR_RETURN(const kernels::KernelRow* row, FindRow(key, shape, what));
    return std::get<Fn>(times_kernels_ ? kernels::TimedForm(*row) : row->fn);
  }

  // The rows that run a linear over the weight. The numeric class follows from the role, the weight
  // and the table alone; inside it, how many rows of x a call has and what was measured decide. The
  // names of all that may run go into the totals.
  absl::StatusOr<LinearKernels> FindLinear(kernels::Role role, const Weight& weight);

  const quant::Checkpoint& checkpoint() const { return checkpoint_; }
  const kernels::KernelTable& table() const { return *table_; }  // not of one that only checks
  const LoadTotals& totals() const { return totals_; }

 private:
  bool only_checks() const { return pool_ == nullptr; }
  absl::StatusOr<const kernels::KernelRow*> FindRow(const kernels::KernelKey& key,
                                                    const kernels::KernelShape& shape,
                                                    const std::string& what);
  absl::Status ReadDenseWeight(Weight& weight);
  absl::Status ReadBcqWeight(Weight& weight, WeightUse use);

  const quant::Checkpoint& checkpoint_;
  const kernels::KernelTable* const table_ = nullptr;
  ThreadPool* const pool_ = nullptr;
  KernelChoices* const choices_ = nullptr;
  const bool times_kernels_ = false;
  LoadTotals totals_;
};

// DATA_LOSS naming the tensor and the first bad element when one is NaN or infinite. f32, f16 and
// bf16 views.
absl::Status CheckFinite(const std::string& name, const TensorView& view, ThreadPool& pool);

}  // namespace bitdial::engine
