// Byte-pair merging on ids.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace bitdial::server {

class BpeMerges {
 public:
  // The pair (left, right) becomes `merged`; lower ranks merge first. Of two equal pairs the later
  // one counts, as in Hugging Face's tokenizers.
  void Add(int32_t left, int32_t right, int32_t rank, int32_t merged);
  void Reserve(size_t count) { merges_.reserve(count); }

  // Merges `ids` in place until no pair is left to merge: always the pair of lowest rank, the
  // leftmost of equals. O(n log n) for n ids, whatever the text.
  void Apply(std::vector<int32_t>* ids) const;

 private:
  struct Merge {
    int32_t rank, merged;
  };
  const Merge* Find(int32_t left, int32_t right) const;

  absl::flat_hash_map<uint64_t, Merge> merges_;
};

}  // namespace bitdial::server
