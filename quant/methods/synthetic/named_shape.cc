#include "quant/methods/synthetic/named_shape.h"

#include <charconv>

namespace bitdial::quant {
namespace {

const LlamaShape kShapes[] = {
    {"llama-1.1b", 22, 2048, 5632, 32, 4, 32000, 2048},
    {"llama-8b", 32, 4096, 14336, 32, 8, 32000, 8192},
};

}  // namespace

absl::StatusOr<LlamaShape> ParseNamedShape(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  for (const LlamaShape& known : kShapes) {
    if (known.name != name) continue;
    LlamaShape shape = known;
    if (colon == std::string::npos) return shape;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, shape.num_layers);
    if (error != std::errc() || stop != end || shape.num_layers < 1 ||
        shape.num_layers > known.num_layers) {
      return InvalidArgument("shape \"{}\": after the colon a number of layers from 1 to {}", text,
                             known.num_layers);
    }
    shape.name = text;
    return shape;
  }
  std::string names;
  for (const LlamaShape& known : kShapes) names += (names.empty() ? "" : ", ") + known.name;
  return InvalidArgument("shape \"{}\" is unknown; there are: {}; \"llama-8b:8\" has 8 layers", text,
                         names);
}

}  // namespace bitdial::quant
