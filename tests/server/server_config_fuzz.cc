// Any bytes as the server's configuration file, as the value of every variable and flag, and as an
// address to listen on.
#include <algorithm>
#include <string>

#include "kernels/core/check.h"
#include "server/config/address.h"
#include "server/config/config.h"
#include "tests/testing/fuzz_bytes.h"

namespace {

using namespace bitdial;
using namespace bitdial::server;

// What the table says of each key holds, however the value came in.
void CheckRanges(ServerConfig config) {
  for (const ConfigKey& key : ConfigKeys()) {
    const ConfigSlot slot = key.slot(config);
    if (int64_t* const* number = std::get_if<int64_t*>(&slot)) {
      BITDIAL_CHECK(**number >= key.min && **number <= key.max);
    }
    if (std::string* const* text = std::get_if<std::string*>(&slot); text && !key.choices.empty()) {
      BITDIAL_CHECK(std::count(key.choices.begin(), key.choices.end(), **text) == 1);
    }
  }
}

void CheckAddress(const std::string& text) {
  const auto address = ParseAddress(text, "listen");
  if (!address.ok()) return;
  BITDIAL_CHECK(address->port >= 0 && address->port <= 65535);
  BITDIAL_CHECK(!address->host.empty());
  for (const char c : address->host) BITDIAL_CHECK(c > ' ' && c < '\x7f');
  const bool has_colon = address->host.find(':') != std::string::npos;
  const auto again = ParseAddress((has_colon ? "[" + address->host + "]" : address->host) + ":" +
                                      std::to_string(address->port),
                                  "listen");
  BITDIAL_CHECK(again.ok() && again->host == address->host && again->port == address->port &&
                again->is_loopback == address->is_loopback);
}

void CheckFile(std::string_view text) {
  const auto json = ParseJson(text, "fuzz", {.max_bytes = 1 << 20, .max_depth = 8});
  if (!json.ok()) return;
  ServerConfig config;
  if (!ApplyJson(*json, "fuzz", config).ok()) return;
  CheckRanges(config);
  CheckAddress(config.listen);
  // --print-config is a file that says the same.
  const std::string printed = ToJsonText(config);
  const auto reread = ParseJson(printed, "printed");
  ServerConfig copy;
  BITDIAL_CHECK(reread.ok() && ApplyJson(*reread, "printed", copy).ok());
  BITDIAL_CHECK(ToJsonText(copy) == printed);
  BITDIAL_CHECK(CheckConfig(copy).code() == CheckConfig(config).code());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(bitdial::testing::AsText(data, size));
  CheckFile(text);
  CheckAddress(text);
  ServerConfig config;
  for (const ConfigKey& key : ConfigKeys()) (void)ApplyText(key, text, "fuzz", config);
  CheckRanges(config);
  BITDIAL_CHECK(ParseJson(ToJsonText(config), "printed").ok());
  return 0;
}
