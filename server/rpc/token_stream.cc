#include "server/rpc/token_stream.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "quant/container/utf8.h"

namespace bitdial::server {

TokenStream::TokenStream(const Tokenizer& tokenizer, TextOptions options)
    : tokenizer_(tokenizer),
      options_(std::move(options)),
      detokenizer_(tokenizer),
      stop_matcher_(options_.stop) {
  if (options_.continues_prompt) detokenizer_.ContinueAfterPrompt();
}

void TokenStream::Push(const engine::TokenEvent& event, v1::OutputDelta& delta) {
  if (stop_matched()) return;
  ++num_tokens_;
  last_token_id_ = event.token_id;
  if (options_.wants_token_ids) delta.add_token_ids(event.token_id);
  if (options_.wants_logprobs) *delta.add_logprobs() = ToWire(tokenizer_, event.chosen, event.top);
  if (EndsOutput(event.token_id)) return;
  const std::string text = detokenizer_.Push(event.token_id);
  delta.mutable_text()->append(num_tokens_ < options_.min_tokens ? text : stop_matcher_.Push(text));
}

void TokenStream::Flush(v1::OutputDelta& delta) {
  if (stop_matched()) return;
  std::string rest = stop_matcher_.Push(detokenizer_.Flush());
  rest += stop_matcher_.Flush();
  delta.mutable_text()->append(rest);
}

bool TokenStream::EndsOutput(int32_t id) const {
  return num_tokens_ >= options_.min_tokens &&
         std::find(options_.ending_ids.begin(), options_.ending_ids.end(), id) !=
             options_.ending_ids.end();
}

v1::Logprob ToWire(const Tokenizer& tokenizer, const engine::TokenLogprob& chosen,
                   const std::vector<engine::TokenLogprob>& top) {
  const auto fill = [&](const engine::TokenLogprob& from, v1::TokenLogprob& to) {
    to.set_token_id(from.id);
    to.set_token(TokenText(tokenizer, from.id));
    to.set_logprob(from.logprob);
  };
  v1::Logprob wire;
  fill(chosen, *wire.mutable_chosen());
  for (const engine::TokenLogprob& candidate : top) fill(candidate, *wire.add_top());
  return wire;
}

std::string TokenText(const Tokenizer& tokenizer, int32_t id) {
  const std::string bytes = tokenizer.TokenBytes(id, /*show_special=*/true);
  if (quant::IsUtf8(bytes)) return bytes;
  const std::string_view rest(bytes);
  std::string text;
  for (size_t at = 0; at < bytes.size();) {
    size_t size = 1;
    while (size <= 4 && !quant::IsUtf8(rest.substr(at, size))) ++size;
    if (size <= 4 && at + size <= bytes.size()) {
      text.append(rest.substr(at, size));
      at += size;
    } else {
      text.append("\xEF\xBF\xBD");
      ++at;
    }
  }
  return text;
}

}  // namespace bitdial::server
