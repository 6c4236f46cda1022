// What every tokenizer keeps that a reader let through, whatever its file says. For fuzz targets.
#pragma once

#include "kernels/core/check.h"
#include "server/tokenizer/tokenizer.h"
#include "server/tokenizer/utf8.h"

namespace bitdial::server::testing {

inline void CheckTokenizer(const Tokenizer& tokenizer) {
  const auto check_id = [&](int32_t id) { BITDIAL_CHECK(id >= 0 && id < tokenizer.vocab_size()); };
  if (const auto bos = tokenizer.bos_id()) check_id(*bos);
  for (const int32_t id : tokenizer.eos_ids()) check_id(id);
  BITDIAL_CHECK(!FindInvalidUtf8(tokenizer.chat_template()));

  constexpr std::string_view kText =
      " The server reads\n 123 <|im_end|></s><sep> 你好 ﬁ … AAA\xC2\xA0 '";
  for (const bool has_special : {true, false}) {
    const auto ids = tokenizer.Encode(
        kText, {.add_special_tokens = has_special, .parse_special_tokens = has_special});
    BITDIAL_CHECK(ids.ok());  // the text is UTF-8 and short
    for (const int32_t id : *ids) check_id(id);
    BITDIAL_CHECK(!FindInvalidUtf8(tokenizer.Decode(*ids)));
  }
  // Bytes in any order, and ids that no vocabulary has.
  std::vector<int32_t> ids = {-1, INT32_MIN, INT32_MAX, tokenizer.vocab_size()};
  for (int32_t id = 0; id < std::min(tokenizer.vocab_size(), 512); ++id) ids.push_back(id);
  BITDIAL_CHECK(!FindInvalidUtf8(tokenizer.Decode(ids)));
}

}  // namespace bitdial::server::testing
