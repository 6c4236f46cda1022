// Any bytes as JSON text. What we accept, nlohmann/json accepts with the same value; and every
// typed getter holds.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "quant/container/json_reader.h"

namespace {

using namespace bitdial;

void AskForEverything(const Json& json) {
  auto object = JsonObject::Make(json, "fuzz");
  if (!object.ok()) return;
  for (const auto& member : json.items()) {
    const std::string& key = member.key();
    (void)object->GetInt(key, -5, 5);
    (void)object->GetNumber(key, -0.5, 0.5);
    (void)object->GetBoolOr(key, true);
    (void)object->GetString(key);
    (void)object->GetIntListOr(key, 0, 10);
    (void)object->GetStringListOr(key);
    (void)object->GetObject(key);
  }
  if (!object->RefuseUnknownKeys().ok()) __builtin_trap();  // all were asked for
  auto untouched = JsonObject::Make(json, "fuzz");
  if (untouched->RefuseUnknownKeys().ok() != json.empty()) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto json = ParseJson(text, "fuzz", {.max_bytes = 1 << 20, .max_depth = 16});
  if (!json.ok()) return 0;
  const Json reference = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (reference.is_discarded() || reference != *json) __builtin_trap();
  (void)json->dump();  // throws on text that is not UTF-8
  AskForEverything(*json);
  return 0;
}
