#include "kernels/kernel_profile.h"

#include <array>
#include <chrono>
#include <utility>

#include "kernels/core/check.h"

namespace bitdial::kernels {
namespace {

// A kernel is a plain function, so what its timed form needs lies here, by the row's number.
constexpr size_t kMaxRows = 96;
struct Slot {
  const KernelRow* row = nullptr;
  KernelProfile* profile = nullptr;
};
std::array<Slot, kMaxRows> g_slots;

template <typename Args>
std::string What(const KernelRow& row, const Args& args) {
  if constexpr (std::is_same_v<Args, LinearArgs>) {
    return fmt::format("linear {}x{}", args.y.cols, args.x.cols);
  }
  return Name(row.key.op);
}

template <size_t kSlot, typename Args>
void RunTimed(const Args& args, Stream& stream) noexcept {
  const Slot& slot = g_slots[kSlot];
  const auto start = std::chrono::steady_clock::now();
  std::get<void (*)(const Args&, Stream&) noexcept>(slot.row->fn)(args, stream);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  slot.profile->Add(What(*slot.row, args), took.count());
}

template <size_t kSlot>
KernelFn TimedAt(const KernelFn& fn) {
  return std::visit(
      []<typename Args>(void (*)(const Args&, Stream&) noexcept) {
        return KernelFn(&RunTimed<kSlot, Args>);
      },
      fn);
}

template <size_t... kSlots>
constexpr auto AllTimed(std::index_sequence<kSlots...>) {
  return std::array{&TimedAt<kSlots>...};
}

}  // namespace

KernelFn KernelProfile::Timed(const KernelRow& row, KernelProfile* profile) {
  static constexpr auto kTimed = AllTimed(std::make_index_sequence<kMaxRows>());
  size_t slot = 0;
  while (slot < kMaxRows && g_slots[slot].row != nullptr && g_slots[slot].row != &row) ++slot;
  BITDIAL_CHECK(slot < kMaxRows);
  g_slots[slot] = {&row, profile};
  return kTimed[slot](row.fn);
}

void KernelProfile::Add(const std::string& what, double seconds) {
  Entry& entry = entries_[what];
  ++entry.num_calls;
  entry.seconds += seconds;
}

}  // namespace bitdial::kernels
