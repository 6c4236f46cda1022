#include "engine/layers/kernel_choices.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <string_view>
#include <system_error>

#include "quant/container/file_errors.h"
#include "quant/container/file_writer.h"
#include "quant/container/json_reader.h"

namespace bitdial::engine {
namespace {

using kernels::ChosenRows;
using kernels::KernelRow;

constexpr int64_t kFormat = 1;
constexpr JsonLimits kLimits = {.max_bytes = 1 << 20, .max_depth = 8};
// A model makes about ten, and each build its own: beyond it only what this process uses is kept.
// An entry is below 1 KB, so a file of ours is within kLimits.
constexpr size_t kMaxEntries = 512;

std::string EntryKey(const std::string& machine, std::span<const KernelRow* const> candidates,
                     const kernels::KernelShape& shape, int num_threads) {
  std::string key = fmt::format("{}; {} threads; {}x{}", machine, num_threads, shape.out_features,
                                shape.in_features);
  const kernels::WeightFormat format = candidates.front()->key.weight_format;
  key += fmt::format(", {}", Name(format));
  if (format == kernels::WeightFormat::kDense) key += fmt::format(" {}", Name(shape.weight_dtype));
  if (shape.max_bits > 0) key += fmt::format(", {} planes", shape.max_bits);
  if (shape.group_size > 0) key += fmt::format(", group {}", shape.group_size);
  key += fmt::format("; {}:", candidates.front()->numeric_class);
  for (const KernelRow* row : candidates) key += std::string(" ") + row->name;
  return key;
}

// nullopt unless there is a candidate's name for every size.
std::optional<ChosenRows> FindRows(const std::vector<std::string>& names,
                                   std::span<const KernelRow* const> candidates) {
  ChosenRows rows;
  if (names.size() != rows.size()) return std::nullopt;
  for (size_t size = 0; size < rows.size(); ++size) {
    const auto row =
        std::find_if(candidates.begin(), candidates.end(),
                     [&](const KernelRow* known) { return names[size] == known->name; });
    if (row == candidates.end()) return std::nullopt;
    rows[size] = *row;
  }
  return rows;
}

// What a file of ours begins with: keys are written in order.
constexpr std::string_view kHead = "{\n \"about\": \"bitdial: ";

// Whatever else the path may name by mistake, a device or somebody's settings, is left alone.
absl::Status CheckIsOurs(const std::string& path) {
  struct stat info;
  if (::lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? absl::OkStatus() : quant::FileError(errno, path, "look at the file");
  }
  if (!S_ISREG(info.st_mode)) {
    return FailedPrecondition("{} is no regular file; it is left alone: name another", path);
  }
  std::string head(kHead.size(), '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file) return quant::FileError(errno, path, "open the file");
  file.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<size_t>(file.gcount()));
  if (kHead.substr(0, head.size()) == head) return absl::OkStatus();  // or it was cut short
  return FailedPrecondition(
      "{} was not written by bitdial; it is left alone: remove it or name another", path);
}

// A reader sees the old file or the new one, whole.
absl::Status ReplaceFile(const std::string& path, const std::string& text) {
  BITDIAL_RETURN_IF_ERROR(CheckIsOurs(path));
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code error;
  if (!folder.empty()) std::filesystem::create_directories(folder, error);
  if (error) return quant::FileError(error.value(), folder.string(), "create the folder");
  // Not the process id: in containers that share a folder all have the same.
  const std::string temporary = fmt::format("{}.{:08x}.tmp", path, std::random_device()());
  BITDIAL_ASSIGN_OR_RETURN(auto writer, quant::FileWriter::Create(temporary, text.size()));
  BITDIAL_RETURN_IF_ERROR(writer->WriteAt(0, std::as_bytes(std::span(text))));
  BITDIAL_RETURN_IF_ERROR(writer->Finish());
  if (std::rename(temporary.c_str(), path.c_str()) == 0) return absl::OkStatus();
  const int why = errno;
  ::unlink(temporary.c_str());
  return quant::FileError(why, path, "replace the file");
}

}  // namespace

KernelChoices KernelChoices::Open(const std::string& path, const std::string& machine) {
  KernelChoices choices;
  choices.path_ = path;
  choices.machine_ = machine;
  if (path.empty()) return choices;
  absl::StatusOr<Entries> entries = Read(path);
  if (entries.ok()) {
    choices.known_ = *std::move(entries);
  } else if (entries.status().code() != absl::StatusCode::kNotFound &&
             entries.status().code() != absl::StatusCode::kPermissionDenied) {  // Save says those
    choices.notes_.push_back(fmt::format("{}; kernels are measured anew",
                                         std::string(entries.status().message())));
  }
  return choices;
}

absl::StatusOr<KernelChoices::Entries> KernelChoices::Read(const std::string& path) {
  BITDIAL_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(path, kLimits));
  BITDIAL_ASSIGN_OR_RETURN(JsonObject object, JsonObject::Make(json, path));
  BITDIAL_RETURN_IF_ERROR(object.GetInt("format", kFormat, kFormat).status());
  BITDIAL_ASSIGN_OR_RETURN(std::optional<JsonObject> choices, object.GetObject("choices"));
  Entries entries;
  if (!choices.has_value()) return DataLoss("{}: \"choices\" is missing", path);
  for (const auto& [key, value] : json["choices"].items()) {
    BITDIAL_ASSIGN_OR_RETURN(entries[key], choices->GetStringListOr(key));
  }
  return entries;
}

ChosenRows KernelChoices::Choose(std::span<const KernelRow* const> candidates,
                                 const kernels::KernelShape& shape, int num_threads,
                                 const kernels::TimeCall& time) {
  const bool is_reference = candidates.front()->backend == kernels::Backend::kCpuRef;
  if (candidates.size() == 1 || is_reference) return kernels::StaticChoice(candidates);
  const std::string key = EntryKey(machine_, candidates, shape, num_threads);
  if (const auto known = known_.find(key); known != known_.end()) {
    if (const auto rows = FindRows(known->second, candidates); rows.has_value()) {
      used_[key] = known->second;
      return *rows;
    }
    notes_.push_back(fmt::format(
        "{}: the entry \"{}\" names other rows than the {} that it should; measured anew", path_,
        key, kernels::kCallSizes.size()));
  }
  const ChosenRows rows = kernels::TimedChoice(candidates, time);
  ++num_timed_;
  RowNames& names = used_[key] = {};
  for (const KernelRow* row : rows) names.push_back(row->name);
  known_[key] = names;
  return rows;
}

absl::Status KernelChoices::Save() const {
  if (path_.empty() || num_timed_ == 0) return absl::OkStatus();
  // What another process wrote since Open is kept; of two at the same moment one loses, and
  // measures again.
  Entries entries = used_;
  if (absl::StatusOr<Entries> others = Read(path_); others.ok()) entries.merge(*others);
  Json json = {{"about", "bitdial: the fastest kernel rows of this machine; may be deleted"},
               {"format", kFormat},
               {"choices", entries.size() > kMaxEntries ? used_ : entries}};
  // The machine's name is the one text here that is not ours.
  return ReplaceFile(path_, json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace bitdial::engine
