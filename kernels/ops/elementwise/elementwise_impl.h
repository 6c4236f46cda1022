// The functions behind the rows of elementwise.
#pragma once

#include "kernels/ops/elementwise/elementwise.h"

namespace bitdial::kernels {

void SiluMulRef(const SiluMulArgs& args, Stream& stream) noexcept;
void AddRef(const AddArgs& args, Stream& stream) noexcept;

void SiluMulAvx2(const SiluMulArgs& args, Stream& stream) noexcept;
void AddAvx2(const AddArgs& args, Stream& stream) noexcept;
void SiluMulAvx512(const SiluMulArgs& args, Stream& stream) noexcept;
void AddAvx512(const AddArgs& args, Stream& stream) noexcept;

}  // namespace bitdial::kernels
