#include "server/tokenizer/charsmap.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "server/tokenizer/utf8.h"

namespace bitdial::server {
namespace {

constexpr uint32_t kMaxTrieBytes = 4u
                                   << 20;  // the largest of SentencePiece's own maps has 0.25 MiB
constexpr int kMaxMatches = 32;            // Normalizer::kMaxTrieResultsSize
constexpr size_t kMaxReplacementBytes = 256;  // else a text could grow without bound; NFKC needs 33

// The fields of a darts-clone unit.
bool HasLeaf(uint32_t unit) { return ((unit >> 8) & 1) != 0; }
uint32_t ValueOf(uint32_t unit) { return unit & 0x7fffffffu; }
uint32_t LabelOf(uint32_t unit) { return unit & 0x800000ffu; }
uint32_t OffsetOf(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

// Depth-first over states. A state is the index that a text's next byte is XORed into; states may
// be shared (the array is a DAG), so each is finished once and remembers the most matches of any
// path below it.
class TrieWalk {
 public:
  TrieWalk(std::vector<uint32_t> units, size_t num_values)
      : units_(std::move(units)), num_values_(num_values), matches_(units_.size(), kUnseen) {}

  std::string FindError() {
    std::string error = Enter(OffsetOf(units_[0]), false);
    while (error.empty() && !stack_.empty()) error = Step();
    return error;
  }

 private:
  static constexpr int8_t kUnseen = -1, kOpen = -2;
  struct Frame {
    uint32_t state;
    bool has_leaf;
    uint32_t next_byte = 0;
    int most_below = 0;
  };

  std::string Enter(uint32_t state, bool has_leaf) {
    if (state >= units_.size()) {
      return fmt::format("state {} lies outside the double array of {}", state, units_.size());
    }
    if (has_leaf && ValueOf(units_[state]) >= num_values_) {
      return fmt::format("state {} has value {}, but there are {} bytes of replacements", state,
                         ValueOf(units_[state]), num_values_);
    }
    matches_[state] = kOpen;
    stack_.push_back({state, has_leaf});
    return "";
  }

  std::string Step() {
    Frame& frame = stack_.back();
    // The array's size is a multiple of 256, so state ^ byte is inside whenever the state is.
    for (; frame.next_byte < 256; ++frame.next_byte) {
      const uint32_t unit = units_[frame.state ^ frame.next_byte];
      if (LabelOf(unit) != frame.next_byte) continue;
      const uint32_t child = (frame.state ^ frame.next_byte) ^ OffsetOf(unit);
      if (child < units_.size() && matches_[child] == kOpen) {
        return fmt::format("the double array has a cycle through state {}", child);
      }
      if (child >= units_.size() || matches_[child] == kUnseen) return Enter(child, HasLeaf(unit));
      // Seen before, perhaps through a unit without the leaf bit: count one for the bit either way.
      if (HasLeaf(unit) && ValueOf(units_[child]) >= num_values_) {
        return fmt::format("state {} has a value outside the replacements", child);
      }
      frame.most_below = std::max(frame.most_below, matches_[child] + (HasLeaf(unit) ? 1 : 0));
    }
    return Leave();
  }

  std::string Leave() {
    const Frame frame = stack_.back();
    stack_.pop_back();
    if (frame.most_below > kMaxMatches) {
      return fmt::format("one text can match more than {} rules at once", kMaxMatches);
    }
    matches_[frame.state] = static_cast<int8_t>(frame.most_below);
    return "";  // the parent meets this child again, now finished, and counts it
  }

  std::vector<uint32_t> units_;
  size_t num_values_;
  std::vector<int8_t> matches_;
  std::vector<Frame> stack_;
};

std::string FindReplacementError(std::string_view replacements) {
  if (replacements.empty() || replacements.back() != '\0') {
    return "the replacements do not end with NUL";
  }
  if (const auto ofs = FindInvalidUtf8(replacements)) {
    return fmt::format("the replacements are not UTF-8 at byte {}", *ofs);
  }
  for (size_t begin = 0; begin < replacements.size();) {
    const size_t end = replacements.find('\0', begin);
    if (end - begin > kMaxReplacementBytes) {
      return fmt::format("a replacement of {} bytes; at most {}", end - begin,
                         kMaxReplacementBytes);
    }
    begin = end + 1;
  }
  return "";
}

}  // namespace

std::string FindCharsmapError(std::string_view blob) {
  if (blob.empty()) return "";
  uint32_t trie_bytes = 0;
  if (blob.size() <= sizeof(trie_bytes)) return "shorter than its header";
  std::memcpy(&trie_bytes, blob.data(), sizeof(trie_bytes));
  blob.remove_prefix(sizeof(trie_bytes));
  if (trie_bytes >= blob.size() || trie_bytes > kMaxTrieBytes) {
    return fmt::format("double array of {} bytes in a map of {} (limit {})", trie_bytes,
                       blob.size(), kMaxTrieBytes);
  }
  if (trie_bytes < 1024 || trie_bytes % 1024 != 0) {
    return fmt::format("double array of {} bytes: not a multiple of 1024", trie_bytes);
  }
  std::vector<uint32_t> units(trie_bytes / sizeof(uint32_t));
  std::memcpy(units.data(), blob.data(), trie_bytes);
  blob.remove_prefix(trie_bytes);
  if (std::string error = FindReplacementError(blob); !error.empty()) return error;
  return TrieWalk(std::move(units), blob.size()).FindError();
}

}  // namespace bitdial::server
