// Any bytes as the file of API keys, as a key, and as the header that carries one.
#include <string>

#include "kernels/core/check.h"
#include "server/security/key_file.h"
#include "tests/testing/fuzz_bytes.h"

namespace {

using namespace bitdial;
using namespace bitdial::server;

void CheckFile(std::string_view text) {
  const auto table = ParseKeyFile(text, "fuzz");
  if (!table.ok()) {
    BITDIAL_CHECK(table.status().message().size() > 4);
    return;
  }
  BITDIAL_CHECK(!table->empty());
  std::string written;
  for (const auto& [id, record] : *table) {
    BITDIAL_CHECK(id == record.id && id.size() == 16);
    BITDIAL_CHECK(CheckKeyName(record.principal.name, "name").ok());
    BITDIAL_CHECK(!record.principal.scopes.empty());
    BITDIAL_CHECK(record.principal.max_concurrent_requests >= 0);
    BITDIAL_CHECK(record.principal.max_requests_per_minute >= 0);
    written += ToLine(record) + "\n";
  }
  const auto again = ParseKeyFile(written, "written");
  BITDIAL_CHECK(again.ok() && again->size() == table->size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(bitdial::testing::AsText(data, size));
  CheckFile(text);
  const auto id = IdOfApiKey(text);
  BITDIAL_CHECK(!id.has_value() || (text.size() == 63 && text.compare(3, 16, *id) == 0));
  (void)HashApiKey({}, text);
  return 0;
}
