#include "kernels/backends/cpu/x16_avx2.h"
// The body, written once for both ISAs.
#include "kernels/ops/rms_norm/rms_norm_x16.h"
