// Where the real models and texts lie that are too large for the repository.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace bitdial::testing {

// The path of a file or folder of the shared data, nullopt when this machine does not have it:
// ${BITDIAL_SHARED_DATA}/relative_path, else <source>/../shared/data/relative_path.
// A test that needs it skips loudly:
//   const auto model = SharedData("models/stories260K-hf");
//   if (!model) GTEST_SKIP() << "SKIPPED: stories260K needs shared data";
inline std::optional<std::string> SharedData(const std::string& relative_path) {
  const char* root = std::getenv("BITDIAL_SHARED_DATA");
  const std::filesystem::path folder =
      root != nullptr ? std::filesystem::path(root)
                      : std::filesystem::path(BITDIAL_SOURCE_DIR) / "../shared/data";
  const std::filesystem::path path = folder / relative_path;
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path.string();
}

// SmolLM2-135M-Instruct's GGUF: ${BITDIAL_SMOLLM2}, else where quickstart.sh and test.sh put it.
// nullopt: not here; skip with "SKIPPED: <what> needs SmolLM2".
inline std::optional<std::string> SmolLm2() {
  const char* given = std::getenv("BITDIAL_SMOLLM2");
  const std::filesystem::path path =
      given != nullptr
          ? std::filesystem::path(given)
          : std::filesystem::path(BITDIAL_SOURCE_DIR) / "models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path.string();
}

}  // namespace bitdial::testing
