// Tokens that are found in the text itself, before any model runs: "<|im_end|>" becomes its id and
// never pieces of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "kernels/core/status.h"

namespace bitdial::server {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special =
      true;  // control: matched only where the caller allows it, and not shown in decoded text
  bool lstrip = false;      // takes the white space on its left with it
  bool rstrip = false;      // ... on its right
  bool normalized = false;  // looked for after those that are not
};

// A part of a text: a token that was found, or plain text between two.
struct Segment {
  std::string_view text;  // empty when a token
  int32_t id = -1;
};

// Byte tries over the contents; at each position the longest token wins, as in Hugging Face's
// tokenizers.
class AddedTokens {
 public:
  // Errors  DATA_LOSS an empty content, two ids for one content, or over 64 MiB of contents.
  static absl::StatusOr<AddedTokens> Make(std::vector<AddedToken> tokens);

  std::vector<Segment> Split(std::string_view text, bool with_special) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  const AddedToken* Find(int32_t id) const;
  const AddedToken* Find(std::string_view content) const;

 private:
  struct Trie {
    void Add(std::string_view content, int32_t token);
    // The longest token that `text` begins with, or -1.
    int32_t Longest(std::string_view text, const std::vector<AddedToken>& tokens,
                    bool with_special) const;

    absl::flat_hash_map<uint64_t, int32_t> children;  // (node << 8 | byte) -> node
    std::vector<int32_t> token_at = {-1};             // by node
  };
  void SplitWith(const Trie& trie, std::string_view text, bool with_special,
                 std::vector<Segment>* out) const;

  std::vector<AddedToken> tokens_;
  Trie raw_, normalized_;
  absl::flat_hash_map<int32_t, int32_t> index_of_id_;
};

}  // namespace bitdial::server
