// The functions behind the rows of elementwise.
#pragma once

#include "kernels/ops/elementwise/elementwise.h"

namespace bitdial::kernels {

void SiluMulRef(const SiluMulArgs& args, Stream& stream) noexcept;
void AddRef(const AddArgs& args, Stream& stream) noexcept;
void ReluRef(const ReluArgs& args, Stream& stream) noexcept;
void GeluRef(const GeluArgs& args, Stream& stream) noexcept;

void SiluMulAvx2(const SiluMulArgs& args, Stream& stream) noexcept;
void AddAvx2(const AddArgs& args, Stream& stream) noexcept;
void ReluAvx2(const ReluArgs& args, Stream& stream) noexcept;
void GeluAvx2(const GeluArgs& args, Stream& stream) noexcept;

void SiluMulAvx512(const SiluMulArgs& args, Stream& stream) noexcept;
void AddAvx512(const AddArgs& args, Stream& stream) noexcept;
void ReluAvx512(const ReluArgs& args, Stream& stream) noexcept;
void GeluAvx512(const GeluArgs& args, Stream& stream) noexcept;

}  // namespace bitdial::kernels
