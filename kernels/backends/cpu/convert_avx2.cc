#include "kernels/backends/cpu/x16_avx2.h"
// The body, written once for both ISAs.
#include "kernels/backends/cpu/convert_x16.h"
