// Softmax over one row of logits: what log-probabilities and draws are made of.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/request.h"

namespace bitdial::engine {

bool IsFinite(const float* row, int64_t size);

// The largest element. Requires size > 0 and no NaN.
float MaxOf(const float* row, int64_t size);

// log(sum_i exp(row[i])). Terms by a polynomial exp (2 ulp), 1024 at a time summed in f32 lanes,
// then in double: relative error below 1e-6. Requires finite elements.
double LogSumExp(const float* row, int64_t size);

// weights[i] = exp((row[i] - max) / temperature), 0 below e^-87 and for -infinity. weights may be
// row.
void SoftmaxWeights(const float* row, int64_t size, float max, float temperature, float* weights);

// The n largest of row[0 .. size) as log-probabilities, best first, the lower id first among
// equals.
std::vector<TokenLogprob> TopLogprobs(const float* row, int64_t size, int32_t n,
                                      double log_sum_exp);

}  // namespace bitdial::engine
