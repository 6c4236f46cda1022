#include "server/tokenizer/chat_template.h"

#include <algorithm>
#include <array>

#include "server/tokenizer/jinja_canonical.h"
#include "server/tokenizer/utf8.h"

namespace bitdial::server {
namespace {

struct KnownTemplate {
  ChatForm form;
  bool begins_with_bos;  // ChatML only: "{{ bos_token }}" comes first
  std::string_view source;
};

// Stands for any text inside a string literal: the model's default system message.
constexpr std::string_view kAnyText = "@ANY TEXT@";

// As model files write them. Sources: SmolLM2 and Qwen 2 (ChatML with a default system message),
// Hugging Face's ChatML, Llama-2-chat, Meta-Llama-3-Instruct and an earlier form of it that always
// opens the assistant's turn.
constexpr std::array kKnownTemplates = {
    KnownTemplate{
        ChatForm::kChatMl, false,
        R"({% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n@ANY TEXT@<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})"},
    KnownTemplate{
        ChatForm::kChatMl, false,
        R"({% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})"},
    KnownTemplate{
        ChatForm::kChatMl, false,
        R"({% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})"},
    KnownTemplate{
        ChatForm::kChatMl, true,
        R"({{ bos_token }}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})"},
    KnownTemplate{
        ChatForm::kLlama2, false, R"({% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %})"},
    KnownTemplate{
        ChatForm::kLlama3, true,
        R"({% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %})"},
    KnownTemplate{
        ChatForm::kLlama3, true,
        R"({% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }})"},
};

// True when `canonical` is the known template; *any_text then holds what stands for kAnyText.
bool Matches(std::string_view canonical, const KnownTemplate& known, std::string* any_text) {
  const std::string pattern = CanonicalJinja(known.source);
  const size_t slot = pattern.find(kAnyText);
  if (slot == std::string::npos) return canonical == pattern;
  const std::string_view before = std::string_view(pattern).substr(0, slot);
  const std::string_view after = std::string_view(pattern).substr(slot + kAnyText.size());
  if (canonical.size() < before.size() + after.size() || !canonical.starts_with(before) ||
      !canonical.ends_with(after)) {
    return false;
  }
  const std::string_view written =
      canonical.substr(before.size(), canonical.size() - before.size() - after.size());
  any_text->clear();
  for (size_t i = 0; i < written.size(); ++i) {
    if (written[i] == '\'') return false;  // the literal ends here: another template
    if (written[i] == '\\') {
      if (++i == written.size() || (written[i] != '\'' && written[i] != '\\'))
        return false;  // an escape we do not read
    }
    *any_text += written[i];
  }
  return true;
}

std::string FirstCharacters(std::string_view text, size_t count) {
  size_t end = 0;
  for (; count > 0 && end < text.size(); --count) end += NextUtf8(text.substr(end)).length;
  return std::string(text.substr(0, end));
}

// Python's str.strip(), which Jinja's trim is: White_Space and the four separators U+001C to
// U+001F.
bool IsPythonSpace(char32_t c) { return IsWhiteSpace(c) || (c >= 0x1C && c <= 0x1F); }

std::string Strip(std::string_view text) {
  size_t begin = 0, end = 0;
  bool has_begun = false;
  for (size_t ofs = 0; ofs < text.size();) {
    const Utf8Step step = NextUtf8(text.substr(ofs));
    if (!IsPythonSpace(step.code_point) || step.kind != Utf8Step::kCharacter) {
      if (!has_begun) begin = ofs;
      has_begun = true;
      end = ofs + step.length;
    }
    ofs += step.length;
  }
  return std::string(text.substr(begin, end - begin));
}

std::string TextOfToken(const Tokenizer& tokenizer, std::optional<int32_t> id) {
  return id ? tokenizer.TokenBytes(*id, /*show_special=*/true) : "";
}

absl::Status CheckMessages(const std::vector<ChatMessage>& messages) {
  if (messages.empty()) return InvalidArgument("no message: a chat needs at least one");
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant") {
      return InvalidArgument("message {} has the role \"{}\"; expected system, user or assistant",
                             i, FirstCharacters(role, 80));
    }
  }
  return absl::OkStatus();
}

}  // namespace

const char* Name(ChatForm form) {
  switch (form) {
    case ChatForm::kNone:
      return "none";
    case ChatForm::kChatMl:
      return "chatml";
    case ChatForm::kLlama2:
      return "llama2";
    case ChatForm::kLlama3:
      return "llama3";
  }
  return "none";
}

ChatTemplate ChatTemplate::Recognise(const Tokenizer& tokenizer) {
  ChatTemplate result;
  const std::string& source = tokenizer.chat_template();
  if (source.empty()) {
    result.error_ = "the model has no chat template; send the prompt as text";
    return result;
  }
  const std::string canonical = CanonicalJinja(source);
  const auto known = std::find_if(kKnownTemplates.begin(), kKnownTemplates.end(),
                                  [&](const KnownTemplate& candidate) {
                                    return Matches(canonical, candidate, &result.default_system_);
                                  });
  if (known == kKnownTemplates.end()) {
    result.error_ = fmt::format(
        "the model's chat template is none that we have (ChatML, Llama 2, Llama 3); it begins "
        "\"{}\"; send the prompt "
        "as text",
        FirstCharacters(source, 80));
    return result;
  }
  result.form_ = known->form;
  if (known->begins_with_bos || known->form == ChatForm::kLlama2) {
    result.bos_ = TextOfToken(tokenizer, tokenizer.bos_id());
  }
  const std::vector<int32_t> eos = tokenizer.eos_ids();
  if (known->form == ChatForm::kLlama2 && !eos.empty())
    result.eos_ = TextOfToken(tokenizer, eos.front());
  return result;
}

absl::StatusOr<std::string> ChatTemplate::Render(const std::vector<ChatMessage>& messages) const {
  BITDIAL_ASSIGN_OR_RETURN(const std::vector<Part> parts, RenderParts(messages));
  std::string text;
  for (const Part& part : parts) text += part.text;
  return text;
}

absl::StatusOr<std::vector<int32_t>> ChatTemplate::RenderToIds(
    const Tokenizer& tokenizer, const std::vector<ChatMessage>& messages) const {
  BITDIAL_ASSIGN_OR_RETURN(const std::vector<Part> parts, RenderParts(messages));
  std::vector<int32_t> ids;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].is_special) {
      const EncodeOptions options = {.add_special_tokens = false, .parse_special_tokens = true};
      BITDIAL_ASSIGN_OR_RETURN(const std::vector<int32_t> marker,
                               tokenizer.Encode(parts[i].text, options));
      if (marker.size() != 1 || !tokenizer.IsSpecial(marker[0])) {
        return FailedPrecondition("the chat template's \"{}\" is no special token of this model",
                                  parts[i].text);
      }
      ids.push_back(marker[0]);
      continue;
    }
    std::string text = parts[i].text;  // with the plain parts that follow: tokens may span them
    while (i + 1 < parts.size() && !parts[i + 1].is_special) text += parts[++i].text;
    const EncodeOptions options = {.add_special_tokens = false, .parse_special_tokens = false};
    BITDIAL_ASSIGN_OR_RETURN(const std::vector<int32_t> plain, tokenizer.Encode(text, options));
    ids.insert(ids.end(), plain.begin(), plain.end());
  }
  return ids;
}

absl::StatusOr<std::vector<ChatTemplate::Part>> ChatTemplate::RenderParts(
    const std::vector<ChatMessage>& messages) const {
  if (form_ == ChatForm::kNone) return FailedPrecondition("{}", error_);
  BITDIAL_RETURN_IF_ERROR(CheckMessages(messages));
  std::vector<Part> parts;
  switch (form_) {
    case ChatForm::kLlama2: {
      BITDIAL_ASSIGN_OR_RETURN(parts, RenderLlama2(messages));
      break;
    }
    case ChatForm::kLlama3:
      parts = RenderLlama3(messages);
      break;
    default:
      parts = RenderChatMl(messages);
  }
  // A model without BOS or EOS writes nothing there.
  std::erase_if(parts, [](const Part& part) { return part.text.empty(); });
  return parts;
}

std::vector<ChatTemplate::Part> ChatTemplate::RenderChatMl(
    const std::vector<ChatMessage>& messages) const {
  std::vector<Part> parts = {{bos_, true}};
  const auto add = [&](const std::string& role, const std::string& content) {
    parts.insert(parts.end(), {{"<|im_start|>", true},
                               {role + "\n" + content, false},
                               {"<|im_end|>", true},
                               {"\n", false}});
  };
  if (!default_system_.empty() && messages[0].role != "system") add("system", default_system_);
  for (const ChatMessage& message : messages) add(message.role, message.content);
  parts.insert(parts.end(), {{"<|im_start|>", true}, {"assistant\n", false}});
  return parts;
}

absl::StatusOr<std::vector<ChatTemplate::Part>> ChatTemplate::RenderLlama2(
    const std::vector<ChatMessage>& messages) const {
  const bool has_system = messages[0].role == "system";
  std::vector<Part> parts;
  for (size_t i = has_system ? 1 : 0; i < messages.size(); ++i) {
    const size_t turn = i - (has_system ? 1 : 0);
    const std::string expected = turn % 2 == 0 ? "user" : "assistant";
    if (messages[i].role != expected) {
      return InvalidArgument(
          "message {} has the role {}; expected {}: this model's chat form is [system,] user, "
          "assistant, user, ...",
          i, messages[i].role, expected);
    }
    std::string content = messages[i].content;
    if (turn == 0 && has_system)
      content = "<<SYS>>\n" + messages[0].content + "\n<</SYS>>\n\n" + content;
    if (expected == "user") {
      parts.insert(parts.end(), {{bos_, true}, {"[INST] " + Strip(content) + " [/INST]", false}});
    } else {
      parts.insert(parts.end(), {{" " + Strip(content) + " ", false}, {eos_, true}});
    }
  }
  if (parts.empty() || messages.back().role != "user") {
    return InvalidArgument(
        "the last message has the role {}; expected user, whom the model answers",
        messages.back().role);
  }
  return parts;
}

std::vector<ChatTemplate::Part> ChatTemplate::RenderLlama3(
    const std::vector<ChatMessage>& messages) const {
  std::vector<Part> parts = {{bos_, true}};
  const auto open = [&](const std::string& role, const std::string& content) {
    parts.insert(parts.end(), {{"<|start_header_id|>", true},
                               {role, false},
                               {"<|end_header_id|>", true},
                               {"\n\n" + content, false}});
  };
  for (const ChatMessage& message : messages) {
    open(message.role, Strip(message.content));
    parts.push_back({"<|eot_id|>", true});
  }
  open("assistant", "");
  return parts;
}

}  // namespace bitdial::server
