// Chat turns to prompt text. We do not run Jinja from a model file: the model's template is
// recognised as one of the forms we have, byte-exact against the reference renderer, and an unknown
// one is refused.
//
// Recognised means: equal to a template we know, but for what changes nothing in Jinja (white space
// and quotes inside tags, `x.y` for `x['y']`) and for the text of a default system message.
#pragma once

#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "server/tokenizer/tokenizer.h"

namespace bitdial::server {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

enum class ChatForm { kNone, kChatMl, kLlama2, kLlama3 };
const char* Name(ChatForm form);

class ChatTemplate {
 public:
  // Recognises tokenizer.chat_template(). A model without a template gives kNone (Render then
  // fails); a template of no known form is kept as an error that Render returns, so that Generate
  // still works.
  static ChatTemplate Recognise(const Tokenizer& tokenizer);

  ChatForm form() const { return form_; }

  // The prompt with the generation header of the assistant at its end, to be encoded with
  // {.add_special_tokens = false, .parse_special_tokens = true} (BOS is in the text where the form
  // has one). Message contents never become special tokens: use RenderToIds for untrusted text.
  // Errors  FAILED_PRECONDITION no template, or an unknown one (quotes its first 80 characters)
  //         INVALID_ARGUMENT no message, an unknown role, or an order the form does not allow
  absl::StatusOr<std::string> Render(const std::vector<ChatMessage>& messages) const;

  // As Render, in ids: the form's own markers as special tokens, the contents as plain text.
  absl::StatusOr<std::vector<int32_t>> RenderToIds(const Tokenizer& tokenizer,
                                                   const std::vector<ChatMessage>& messages) const;

 private:
  // A stretch of the prompt: one special token, or plain text.
  struct Part {
    std::string text;
    bool is_special;
  };
  absl::StatusOr<std::vector<Part>> RenderParts(const std::vector<ChatMessage>& messages) const;
  std::vector<Part> RenderChatMl(const std::vector<ChatMessage>& messages) const;
  absl::StatusOr<std::vector<Part>> RenderLlama2(const std::vector<ChatMessage>& messages) const;
  std::vector<Part> RenderLlama3(const std::vector<ChatMessage>& messages) const;

  ChatForm form_ = ChatForm::kNone;
  std::string default_system_;  // SmolLM2's template adds one when the first message is not a
                                // system message
  std::string bos_, eos_;       // as text, where the form writes them
  std::string error_;
};

}  // namespace bitdial::server
