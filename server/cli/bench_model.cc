#include "server/cli/bench_model.h"

#include <cstdint>
#include <cstdlib>
#include <filesystem>

#include "quant/methods/synthetic/random_model.h"

namespace bitdial::server {
namespace {

absl::StatusOr<std::string> MakeTemporaryFolder() {
  std::error_code error;
  std::string path = (std::filesystem::temp_directory_path(error) / "bitdial-bench-XXXXXX").string();
  if (error || mkdtemp(path.data()) == nullptr) {
    return ResourceExhausted("{}: no temporary folder can be made; set TMPDIR to one that can be "
                             "written to",
                             path);
  }
  return path;
}

}  // namespace

BenchModel::~BenchModel() {
  signals_.reset();
  std::error_code error;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, error);
}

void BenchModel::AddFlags(CLI::App& command) {
  command.get_option("MODEL")->required(false);
  command.add_option("--shape", shape_,
                     "A random model of this shape in place of MODEL, written to TMPDIR and removed "
                     "again: llama-1.1b, llama-8b; llama-8b:8 has 8 layers");
  shape_bits_option_ =
      command.add_option("--shape-bits", shape_bits_, "The bit-planes of that model")
          ->capture_default_str();
}

absl::StatusOr<std::string> BenchModel::Prepare(const std::string& model) {
  if (shape_.empty() == model.empty()) {
    return InvalidArgument("this bench takes a MODEL or --shape, one of them");
  }
  if (shape_.empty() && shape_bits_option_->count() > 0) {
    return InvalidArgument("--shape-bits is of --shape; a MODEL has its own bits");
  }
  if (shape_.empty()) return model;
  BITDIAL_ASSIGN_OR_RETURN(const quant::LlamaShape shape, quant::ParseNamedShape(shape_));
  quant::QuantizeOptions options;
  BITDIAL_ASSIGN_OR_RETURN(options.bits, quant::ParseBitRange(shape_bits_));
  BlockSignals();  // until there is who removes the folder
  BITDIAL_ASSIGN_OR_RETURN(folder_, MakeTemporaryFolder());
  signals_.emplace([folder = folder_](int signal) {
    // The model may still be in the writing: a file that comes while its folder goes makes a try
    // fail.
    std::error_code error;
    for (int i = 0; i < 100 && std::filesystem::remove_all(folder, error) == UINTMAX_MAX; ++i) {
    }
    std::_Exit(128 + signal);
  });
  options.output = folder_ + "/" + shape.name;
  BITDIAL_RETURN_IF_ERROR(quant::WriteRandomModel(shape, options));
  return options.output;
}

}  // namespace bitdial::server
