#include "quant/methods/solver/partition.h"

#include <algorithm>
#include <cmath>

namespace bitdial::quant {
namespace {

struct LevelCode {
  double level;
  uint32_t code;
};
constexpr size_t kMaxLevels = size_t{1} << kMaxBits;
using LevelTable = std::array<LevelCode, kMaxLevels>;

// All levels in ascending order: each plane shifts the sorted list down and up by alpha, and two
// sorted lists merge.
void SortedLevels(const Scales& scales, int bits, LevelTable& levels) {
  LevelTable merged;
  levels[0] = {scales.beta, 0};
  size_t count = 1;
  for (int p = bits - 1; p >= 0; --p) {
    const double alpha = scales.alpha[static_cast<size_t>(p)];
    const double shift = std::abs(alpha);
    const uint32_t bit = 1u << p;
    const uint32_t low_bit = alpha < 0 ? bit : 0;
    const uint32_t high_bit = bit - low_bit;
    size_t low = 0, high = 0;
    for (size_t i = 0; i < 2 * count; ++i) {
      const bool take_low =
          high == count || (low < count && levels[low].level - shift <= levels[high].level + shift);
      merged[i] = take_low ? LevelCode{levels[low].level - shift, levels[low].code | low_bit}
                           : LevelCode{levels[high].level + shift, levels[high].code | high_bit};
      ++(take_low ? low : high);
    }
    count *= 2;
    std::copy_n(merged.begin(), count, levels.begin());
  }
}

// levels[code] for every code.
void AllLevels(const Scales& scales, int bits, std::array<double, kMaxLevels>& levels) {
  levels[0] = scales.Level(0, bits);
  for (size_t p = 0; p < static_cast<size_t>(bits); ++p) {
    const size_t bit = size_t{1} << p;
    for (size_t c = 0; c < bit; ++c) levels[c | bit] = levels[c] + 2 * scales.alpha[p];
  }
}

void Append(int begin, int end, uint32_t code, Partition& partition) {
  if (begin < end) partition.push_back({begin, end, code});
}

// The cut of [begin, end) that maximises the squared error two means explain.
int BestCut(const SortedGroup& group, int begin, int end) {
  const double total = group.Sum(begin, end);
  int best = begin;
  double best_gain = total * total / (end - begin);
  for (int cut = begin + 1; cut < end; ++cut) {
    const double left = group.Sum(begin, cut);
    const double right = total - left;
    const double gain = left * left / (cut - begin) + right * right / (end - cut);
    if (gain > best_gain) {
      best_gain = gain;
      best = cut;
    }
  }
  return best;
}

}  // namespace

double Scales::Level(uint32_t code, int bits) const {
  double level = beta;
  for (int p = 0; p < bits; ++p) {
    level += code >> p & 1u ? alpha[static_cast<size_t>(p)] : -alpha[static_cast<size_t>(p)];
  }
  return level;
}

void AssignNearest(const SortedGroup& group, const Scales& scales, int bits, Partition& partition) {
  LevelTable levels;
  SortedLevels(scales, bits, levels);
  partition.clear();
  const size_t count = size_t{1} << bits;
  int begin = 0;
  for (size_t i = 0; i + 1 < count; ++i) {
    const double midpoint = 0.5 * (levels[i].level + levels[i + 1].level);
    const int end = group.FirstNotBelow(begin, group.size(), midpoint);
    Append(begin, end, levels[i].code, partition);
    begin = end;
  }
  Append(begin, group.size(), levels[count - 1].code, partition);
}

void AssignJointly(const SortedGroup& group, std::span<const WeightedScales> sets, int max_bits,
                   Partition& partition) {
  // Code c is best where 2 x slope - cost is largest, slope = sum weight * level, cost = sum weight
  // * level^2.
  struct Line {
    double slope, cost;
    uint32_t code;
    double from;  // the x where this line takes over from the one before it on the envelope
  };
  std::array<Line, kMaxLevels> lines;
  const size_t count = size_t{1} << max_bits;
  for (size_t c = 0; c < count; ++c) lines[c] = {0, 0, static_cast<uint32_t>(c), 0};
  std::array<double, kMaxLevels> levels;
  for (const WeightedScales& set : sets) {
    AllLevels(set.scales, set.bits, levels);
    const size_t mask = (size_t{1} << set.bits) - 1;
    for (size_t c = 0; c < count; ++c) {
      const double weighted = set.weight * levels[c & mask];
      lines[c].slope += weighted;
      lines[c].cost += weighted * levels[c & mask];
    }
  }
  std::sort(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(count),
            [](const Line& a, const Line& b) {
              return a.slope != b.slope ? a.slope < b.slope
                     : a.cost != b.cost ? a.cost > b.cost
                                        : a.code < b.code;
            });
  size_t top = 0;  // lines[0 .. top) is the envelope so far
  for (size_t i = 0; i < count; ++i) {
    Line line = lines[i];
    for (;; --top) {
      if (top == 0) {
        line.from = -HUGE_VAL;
        break;
      }
      const Line& last = lines[top - 1];
      if (line.slope == last.slope) continue;  // of equal slopes the last has the least cost
      line.from = (line.cost - last.cost) / (2 * (line.slope - last.slope));
      if (line.from > last.from) break;
    }
    lines[top++] = line;
  }
  partition.clear();
  int begin = 0;
  for (size_t i = 0; i < top; ++i) {
    const int end =
        i + 1 == top ? group.size() : group.FirstNotBelow(begin, group.size(), lines[i + 1].from);
    Append(begin, end, lines[i].code, partition);
    begin = end;
  }
}

void SplitAtLevels(const SortedGroup& group, const Partition& parent, const Scales& scales,
                   int plane, Partition& partition) {
  partition.clear();
  const uint32_t bit = 1u << plane;
  const uint32_t low_bit = scales.alpha[static_cast<size_t>(plane)] < 0 ? bit : 0;
  for (const Cell& cell : parent) {
    const int cut = group.FirstNotBelow(cell.begin, cell.end, scales.Level(cell.code, plane));
    Append(cell.begin, cut, cell.code | low_bit, partition);
    Append(cut, cell.end, cell.code | (bit - low_bit), partition);
  }
}

void SplitAtBestCut(const SortedGroup& group, const Partition& parent, int plane,
                    Partition& partition) {
  partition.clear();
  for (const Cell& cell : parent) {
    const int cut = BestCut(group, cell.begin, cell.end);
    Append(cell.begin, cut, cell.code, partition);
    Append(cut, cell.end, cell.code | 1u << plane, partition);
  }
}

}  // namespace bitdial::quant
