#include "kernels/backends/cpu/x16_avx2.h"
// The body, written once for both ISAs.
#include "kernels/ops/elementwise/elementwise_x16.h"
