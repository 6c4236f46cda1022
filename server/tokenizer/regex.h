// PCRE2 with Unicode properties, JIT and limits.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "kernels/core/status.h"

namespace bitdial::server {

// Thread   const after Compile: any.
class Regex {
 public:
  // In `pattern`, \s and \S mean the Unicode property White_Space, as in the libraries that
  // published it (PCRE2's own includes U+180E). Errors  DATA_LOSS it does not compile.
  static absl::StatusOr<Regex> Compile(const std::string& pattern);

  // Memory for matching, made once for many texts. One thread's own.
  class Scratch {
   public:
    Scratch();
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

   private:
    friend class Regex;
    struct State;
    std::unique_ptr<State> state_;
  };

  // Calls fn(begin, end) for each match in `text` (UTF-8), left to right, never empty ones.
  // Errors  INVALID_ARGUMENT the text drives the pattern over its match or memory limit.
  absl::Status ForEachMatch(std::string_view text, Scratch* scratch,
                            const std::function<void(size_t, size_t)>& fn) const;

 private:
  struct Code;
  explicit Regex(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  std::shared_ptr<const Code> code_;
};

}  // namespace bitdial::server
