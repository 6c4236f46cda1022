#include "server/tokenizer/bpe.h"

#include <functional>
#include <queue>
#include <tuple>

namespace bitdial::server {
namespace {

uint64_t KeyOf(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

// A merge that was possible when it was queued. It still is when both symbols live and still make
// `merged`.
struct Candidate {
  int32_t rank;
  int32_t position;  // of the left symbol
  int32_t merged;
  bool operator>(const Candidate& other) const {
    return std::tie(rank, position) > std::tie(other.rank, other.position);
  }
};

struct Symbol {
  int32_t id;  // -1: merged into its left neighbour
  int32_t previous, next;
};

}  // namespace

void BpeMerges::Add(int32_t left, int32_t right, int32_t rank, int32_t merged) {
  merges_[KeyOf(left, right)] = {rank, merged};
}

const BpeMerges::Merge* BpeMerges::Find(int32_t left, int32_t right) const {
  const auto it = merges_.find(KeyOf(left, right));
  return it == merges_.end() ? nullptr : &it->second;
}

void BpeMerges::Apply(std::vector<int32_t>* ids) const {
  const int32_t count = static_cast<int32_t>(ids->size());
  if (count < 2) return;
  std::vector<Symbol> symbols(ids->size());
  std::vector<Candidate> storage;
  storage.reserve(ids->size());
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>(),
                                                                               std::move(storage));
  const auto at = [&](int32_t i) -> Symbol& { return symbols[static_cast<size_t>(i)]; };
  const auto push = [&](int32_t left) {
    if (left < 0 || at(left).next >= count) return;
    const Merge* merge = Find(at(left).id, at(at(left).next).id);
    if (merge != nullptr) queue.push({merge->rank, left, merge->merged});
  };

  for (int32_t i = 0; i < count; ++i) at(i) = {(*ids)[static_cast<size_t>(i)], i - 1, i + 1};
  for (int32_t i = 0; i + 1 < count; ++i) push(i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = at(top.position);
    if (left.id < 0 || left.next >= count) continue;
    Symbol& right = at(left.next);
    const Merge* merge = Find(left.id, right.id);
    if (merge == nullptr || merge->merged != top.merged) continue;
    left.id = merge->merged;
    left.next = right.next;
    right.id = -1;
    if (left.next < count) at(left.next).previous = top.position;
    push(left.previous);
    push(top.position);
  }

  ids->clear();
  for (int32_t i = 0; i < count; i = at(i).next) ids->push_back(at(i).id);
}

}  // namespace bitdial::server
