#define PCRE2_CODE_UNIT_WIDTH 8
#include "server/tokenizer/regex.h"

#include <pcre2.h>

namespace bitdial::server {
namespace {

// Per match call. A call looks for one token, so what counts is the longest run of one kind of
// character: a run of n spaces costs about n steps.
constexpr uint32_t kMatchLimit = 50'000'000;
constexpr uint32_t kHeapLimitKiB = 256 << 10;
constexpr size_t kJitStackMin = 32 << 10, kJitStackMax = 8 << 20;

// White_Space is \p{Z} and seven controls.
constexpr std::string_view kSpaceClass = "\\p{Z}\\x09-\\x0d\\x85";

std::string WithUnicodeSpaces(const std::string& pattern) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c != '\\' || i + 1 == pattern.size()) {
      if (c == '[') in_class = true;
      if (c == ']') in_class = false;
      out += c;
      continue;
    }
    const char escaped = pattern[++i];
    if (escaped == 's') {
      out += in_class ? std::string(kSpaceClass) : "[" + std::string(kSpaceClass) + "]";
    } else if (escaped == 'S' && !in_class) {
      out += "[^" + std::string(kSpaceClass) + "]";
    } else {
      out += {c, escaped};
    }
  }
  return out;
}

std::string MessageOf(int error) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(error, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

struct Regex::Code {
  explicit Code(pcre2_code* compiled) : code(compiled) {}
  ~Code() { pcre2_code_free(code); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  pcre2_code* code;
};

struct Regex::Scratch::State {
  // The patterns capture nothing: one pair, the match itself.
  State()
      : data(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(kJitStackMin, kJitStackMax, nullptr)) {
    if (context == nullptr) return;
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_set_heap_limit(context, kHeapLimitKiB);
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~State() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  pcre2_match_data* data;
  pcre2_match_context* context;
  pcre2_jit_stack* stack;
};

Regex::Scratch::Scratch() : state_(std::make_unique<State>()) {}
Regex::Scratch::~Scratch() = default;

absl::StatusOr<Regex> Regex::Compile(const std::string& pattern) {
  const std::string translated = WithUnicodeSpaces(pattern);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_NEVER_BACKSLASH_C, &error,
                    &offset, nullptr);
  if (code == nullptr) {
    return DataLoss("pre-tokenizer pattern \"{}\" does not compile: {} at byte {}", pattern,
                    MessageOf(error), offset);
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without a JIT the interpreter matches
  return Regex(std::make_shared<const Code>(code));
}

absl::Status Regex::ForEachMatch(std::string_view text, Scratch* scratch,
                                 const std::function<void(size_t, size_t)>& fn) const {
  const Scratch::State& state = *scratch->state_;
  if (state.data == nullptr || state.context == nullptr)
    return ResourceExhausted("no memory for a regex match");
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  for (size_t ofs = 0; ofs < text.size();) {
    const auto match = [&](uint32_t options) {
      return pcre2_match(code_->code, subject, text.size(), ofs,
                         options | PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, state.data, state.context);
    };
    int found = match(0);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = match(PCRE2_NO_JIT);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) {
      return InvalidArgument("the text is too hard for the pre-tokenizer at byte {}: {}", ofs,
                             MessageOf(found));
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(state.data);
    fn(range[0], range[1]);
    ofs = range[1];
  }
  return absl::OkStatus();
}

}  // namespace bitdial::server
