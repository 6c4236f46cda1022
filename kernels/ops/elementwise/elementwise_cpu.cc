#include "kernels/backends/cpu/row_tasks.h"
#include "kernels/ops/elementwise/elementwise_impl.h"
#include "kernels/ops/elementwise/elementwise_kernels.h"

namespace bitdial::kernels {
namespace {

void SiluMul(cpu::SiluMulRunFn* run, const SiluMulArgs& args, Stream& stream) {
  cpu::ForEachRow(stream.pool(), args.out.rows, [&](int64_t row) {
    run(args.gate.Row(row), args.up.Row(row), args.out.Row(row), args.out.cols);
  });
}

void Add(cpu::AddRunFn* run, const AddArgs& args, Stream& stream) {
  cpu::ForEachRow(stream.pool(), args.out.rows,
                  [&](int64_t row) { run(args.x.Row(row), args.out.Row(row), args.out.cols); });
}

// relu and gelu: one operand, any Args with x and out.
template <typename Args>
void Activate(cpu::ActivationRunFn* run, const Args& args, Stream& stream) {
  cpu::ForEachRow(stream.pool(), args.out.rows,
                  [&](int64_t row) { run(args.x.Row(row), args.out.Row(row), args.out.cols); });
}

}  // namespace

void SiluMulAvx2(const SiluMulArgs& args, Stream& stream) noexcept {
  SiluMul(cpu::avx2::SiluMulRun, args, stream);
}
void SiluMulAvx512(const SiluMulArgs& args, Stream& stream) noexcept {
  SiluMul(cpu::avx512::SiluMulRun, args, stream);
}
void AddAvx2(const AddArgs& args, Stream& stream) noexcept { Add(cpu::avx2::AddRun, args, stream); }
void AddAvx512(const AddArgs& args, Stream& stream) noexcept {
  Add(cpu::avx512::AddRun, args, stream);
}
void ReluAvx2(const ReluArgs& args, Stream& stream) noexcept {
  Activate(cpu::avx2::ReluRun, args, stream);
}
void ReluAvx512(const ReluArgs& args, Stream& stream) noexcept {
  Activate(cpu::avx512::ReluRun, args, stream);
}
void GeluAvx2(const GeluArgs& args, Stream& stream) noexcept {
  Activate(cpu::avx2::GeluRun, args, stream);
}
void GeluAvx512(const GeluArgs& args, Stream& stream) noexcept {
  Activate(cpu::avx512::GeluRun, args, stream);
}

}  // namespace bitdial::kernels
