// From a dense checkpoint to a folder of nested bit-planes, one tensor at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "kernels/core/thread_pool.h"
#include "quant/container/checkpoint.h"
#include "quant/methods/method.h"

namespace bitdial::quant {

// What one tensor gets in place of the job's bits: "PATTERN=BITS", "PATTERN=MIN-MAX" or
// "PATTERN=dense".
struct TensorOverride {
  std::string pattern;  // glob (* and ?) on the whole Hugging Face name, "model.layers.0.*"
  bool is_dense = false;
  BitRange bits = {};  // when not dense
};
// Errors  INVALID_ARGUMENT says which of the three forms was expected.
absl::StatusOr<TensorOverride> ParseTensorOverride(const std::string& text);

// "4" or "2-4". Errors  INVALID_ARGUMENT.
absl::StatusOr<BitRange> ParseBitRange(const std::string& text);

struct QuantizeOptions {
  std::string output;             // folder to make
  std::string method = "anybcq";  // a name of AllMethods()
  BitRange bits = {};
  // Weights along in_features that share a scale; a multiple of 32. 0: the largest of 128, 64, 32
  // that divides the tensor's in_features.
  int64_t group_size = 0;
  // Embedding and head are read at one precision whatever a request asks. 8 bits: the error (0.5%
  // on SmolLM2-135M) is a tenth of what the linears have at 4 bits; 6 bits have 2.3% and save a
  // quarter of the bytes.
  int embed_bits = 8;
  int head_bits = 8;
  std::vector<TensorOverride> overrides = {};  // the last one that matches a name wins
  bool overwrite = false;  // replace an existing output folder, in one step, when all is written
};

struct PrecisionReport {
  int bits = 0;
  double bits_per_weight = 0;  // what a request at `bits` reads: its planes, alpha and beta
  double relative_error = 0;   // Frobenius norm of the difference over that of the weights
  double max_error = 0;        // largest absolute difference
};

struct TensorReport {
  std::string name;
  int64_t out_features = 0;
  int64_t in_features = 0;
  int64_t group_size = 0;                   // 0: dense
  std::string why_dense;                    // "" when quantized
  int64_t num_bytes = 0;                    // in the output: codes and all scale sets
  double bits_per_weight = 0;               // the same over the number of weights
  std::vector<PrecisionReport> precisions;  // ascending bits; empty when dense
};

struct QuantizeReport {
  std::string output;
  std::string method;
  BitRange bits;
  std::vector<TensorReport>
      tensors;  // every matrix, by name; vectors (norms, biases) are counted below only
  std::vector<PrecisionReport> totals;  // linears that hold the job's whole range of bits, together
  int64_t num_weights = 0;              // of all tensors
  int64_t num_bytes = 0;                // of all tensors, as written
  double seconds = 0;
  std::vector<std::string>
      notes;  // things a user should see: stale folders removed, a tied head left out
};

struct QuantizeProgress {
  std::string tensor;  // being worked on
  int64_t done = 0;    // weights
  int64_t total = 0;
};
// Called on the caller's thread every fraction of a second. Returns false to stop the job.
using ProgressFn = std::function<bool(const QuantizeProgress&)>;

// Writes options.output: config.json (the source's, with the keys "anybcq" and "bitdial"),
// model.safetensors in the AnyBCQ release layout, tokenizer files. Everything is written to
// "<output>.tmp-<pid>" and renamed at the end: under the final name there is a whole checkpoint or
// nothing. Memory: one tensor's codes and scales beside the mapped source. The output's bytes do
// not depend on the number of threads.
// Errors  INVALID_ARGUMENT      options; weights beyond binary16 scales (names tensor and row)
//         DATA_LOSS             non-finite weights (names tensor and index)
//         FAILED_PRECONDITION   the source is quantized already
//         ALREADY_EXISTS        the output is there, and overwrite is off or quantize did not make it
//         RESOURCE_EXHAUSTED    disk or memory full
//         CANCELLED             progress returned false
//         and those of reading the source. After any of them nothing is left behind.
absl::StatusOr<QuantizeReport> Quantize(const Checkpoint& source, const QuantizeOptions& options,
                                        ThreadPool& pool, const ProgressFn& progress = nullptr);

}  // namespace bitdial::quant
