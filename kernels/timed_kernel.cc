#include "kernels/timed_kernel.h"

#include <array>
#include <chrono>
#include <utility>

#include "kernels/core/call_times.h"
#include "kernels/core/check.h"
#include "kernels/register_all.h"

namespace bitdial::kernels {
namespace {

// A kernel is a plain function and carries nothing: its timed form knows the row by number.
constexpr size_t kMaxRows = 128;

template <typename Args>
std::string What(const KernelRow& row, const Args& args) {
  if constexpr (std::is_same_v<Args, LinearArgs>) {
    return fmt::format("linear {}x{}", args.y.cols, args.x.cols);
  }
  return Name(row.key.op);
}

template <size_t kRow, typename Args>
void RunTimed(const Args& args, Stream& stream) noexcept {
  const KernelRow& row = AllRows()[kRow];
  const auto start = std::chrono::steady_clock::now();
  std::get<void (*)(const Args&, Stream&) noexcept>(row.fn)(args, stream);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  stream.call_times()->Add(What(row, args), row.name, took.count());
}

template <size_t kRow>
KernelFn TimedAt(const KernelFn& fn) {
  return std::visit(
      []<typename Args>(void (*)(const Args&, Stream&) noexcept) {
        return KernelFn(&RunTimed<kRow, Args>);
      },
      fn);
}

template <size_t... kRows>
constexpr auto AllTimed(std::index_sequence<kRows...>) {
  return std::array{&TimedAt<kRows>...};
}

}  // namespace

KernelFn TimedForm(const KernelRow& row) {
  static constexpr auto kTimed = AllTimed(std::make_index_sequence<kMaxRows>());
  const auto index = static_cast<size_t>(&row - AllRows().data());
  BITDIAL_CHECK(index < AllRows().size() && index < kMaxRows);
  return kTimed[index](row.fn);
}

}  // namespace bitdial::kernels
