#include "server/config/environment.h"

#include <unistd.h>

#include <algorithm>

#include "kernels/core/nearest.h"
#include "server/config/config.h"

namespace bitdial::server {
namespace {

constexpr char kPrefix[] = "BITDIAL_";
constexpr char kServiceHost[] = "_SERVICE_HOST";

bool BeginsWith(const std::string& text, const std::string& beginning) {
  return text.compare(0, beginning.size(), beginning) == 0;
}

// Is there an X_SERVICE_HOST that this name follows from?
bool IsOfKubernetes(const std::string& name, const Environment& environment) {
  return std::any_of(environment.begin(), environment.end(), [&](const auto& variable) {
    const size_t end = variable.first.rfind(kServiceHost);
    if (end == std::string::npos || end + sizeof(kServiceHost) - 1 != variable.first.size())
      return false;
    const std::string service = variable.first.substr(0, end);
    return BeginsWith(name, service + "_SERVICE_") || name == service + "_PORT" ||
           BeginsWith(name, service + "_PORT_");
  });
}

}  // namespace

Environment ReadEnvironment() {
  Environment environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals == std::string::npos || !BeginsWith(text, kPrefix)) continue;
    environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return environment;
}

const std::vector<OtherVariable>& OtherVariables() {
  static const std::vector<OtherVariable> variables = {
      {"BITDIAL_FORCE_BACKEND", "Which kernels every command runs."},
      {"BITDIAL_FORCE_KERNEL", "Kernel rows that run wherever their numeric class does."},
      {"BITDIAL_KERNEL_CACHE", "The file of measured kernel choices, or `off`: nothing is measured."},
      {"BITDIAL_SERVER", "What `bitdial client` and `bitdial admin` take for `--server`."},
      {"BITDIAL_API_KEY", "The key that `bitdial client` and `bitdial admin` show."},
      {"BITDIAL_SHARED_DATA", "Tests: other people's vectors and texts."},
      {"BITDIAL_SMOLLM2", "Tests and scripts: the GGUF file of SmolLM2."},
      {"BITDIAL_PYTHON", "Tests: an interpreter that has grpcio."},
      {"BITDIAL_TORCH_PYTHON", "Tests: an interpreter that has torch."},
      {"BITDIAL_DEPS_DIR", "Scripts and build: where what Debian lacks lies."},
      {"BITDIAL_SENTENCEPIECE_SDIST", "Scripts: a SentencePiece archive already on the disk."},
  };
  return variables;
}

absl::Status RefuseUnknownVariables(const Environment& environment) {
  std::vector<std::string> known;
  for (const ConfigKey& key : ConfigKeys()) known.push_back(EnvironmentName(key));
  for (const OtherVariable& variable : OtherVariables()) known.push_back(variable.name);
  for (const auto& [name, value] : environment) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    if (IsOfKubernetes(name, environment)) continue;
    return InvalidArgument(
        "environment variable {}: unknown{}; correct or unset it (docs/configuration.md lists all)",
        name, DidYouMean(name, known));
  }
  return absl::OkStatus();
}

}  // namespace bitdial::server
