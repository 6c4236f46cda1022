#include "kernels/backends/cpu/x16_avx512.h"
// The body, written once for both ISAs.
#include "kernels/ops/layer_norm/layer_norm_x16.h"
