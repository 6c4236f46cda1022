// Any bytes as the files of an old tokenizer folder, parted by NULs: vocab.json, merges.txt,
// special_tokens_map.json, added_tokens.json.
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "kernels/core/check.h"
#include "server/tokenizer/tokenizer.h"
#include "server/tokenizer/utf8.h"
#include "tests/testing/temp_dir.h"

namespace {

using namespace bitdial;

void Check(const server::Tokenizer& tokenizer) {
  const auto check_ids = [&](const std::vector<int32_t>& ids) {
    for (const int32_t id : ids) BITDIAL_CHECK(id >= 0 && id < tokenizer.vocab_size());
  };
  check_ids(tokenizer.eos_ids());
  for (const bool has_special : {true, false}) {
    const auto ids =
        tokenizer.Encode("</s>the  th\n<end> 123 é",
                         {.add_special_tokens = true, .parse_special_tokens = has_special});
    BITDIAL_CHECK(ids.ok());  // the text is UTF-8 and short
    check_ids(*ids);
    BITDIAL_CHECK(!server::FindInvalidUtf8(tokenizer.Decode(*ids)));
  }
  BITDIAL_CHECK(!server::FindInvalidUtf8(tokenizer.Decode({-1, 0, 1, 2, 3, 255, 1 << 30})));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const testing::TempDir folder;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  for (const char* name :
       {"vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json"}) {
    const std::string_view part = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
    folder.Write(name, part.empty() && name[0] != 'm' ? std::string_view("{}") : part);
  }
  const auto tokenizer = server::Tokenizer::Load(folder.path());
  if (tokenizer.ok()) Check(**tokenizer);
  return 0;
}
