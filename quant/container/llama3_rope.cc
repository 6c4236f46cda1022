// Recovers the parameters of "llama3" rope_scaling from the factors a GGUF file stores instead.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "quant/container/gguf_llama.h"

namespace bitdial::quant {
namespace {

struct Parameters {
  double factor;
  double low_freq_factor;
  double high_freq_factor;
  double original_max_position;
};

// f32 factors computed in another order of operations; far below what a wrong parameter does.
constexpr double kTolerance = 1e-5;

// Turns per token of pair `pair` of a head, 1 / wavelength.
double TurnsPerToken(size_t pair, size_t num_pairs, double rope_theta) {
  const double exponent = static_cast<double>(pair) / static_cast<double>(num_pairs);
  return std::pow(rope_theta, -exponent) / (2 * std::numbers::pi);
}

// What Hugging Face's _compute_llama3_parameters divides the frequency by.
double Llama3Factor(const Parameters& p, double turns) {
  const double periods = p.original_max_position * turns;  // in the original context
  if (periods > p.high_freq_factor) return 1;
  if (periods < p.low_freq_factor) return p.factor;
  const double smooth = (periods - p.low_freq_factor) / (p.high_freq_factor - p.low_freq_factor);
  return 1 / ((1 - smooth) / p.factor + smooth);
}

bool Reproduces(const Parameters& p, std::span<const float> factors, double rope_theta) {
  for (size_t pair = 0; pair < factors.size(); ++pair) {
    const double expected = Llama3Factor(p, TurnsPerToken(pair, factors.size(), rope_theta));
    if (!(std::abs(factors[pair] - expected) <= kTolerance * expected)) return false;
  }
  return true;
}

// Between the two bands 1 / factor is linear in the frequency: a line through those points gives
// the parameters.
std::optional<Parameters> FitLine(std::span<const float> factors, double rope_theta,
                                  double factor) {
  double n = 0, sum_x = 0, sum_y = 0, sum_xx = 0, sum_xy = 0;
  for (size_t pair = 0; pair < factors.size(); ++pair) {
    const double f = factors[pair];
    if (!(f > 1 + kTolerance && f < factor * (1 - kTolerance))) continue;
    const double x = TurnsPerToken(pair, factors.size(), rope_theta);
    const double y = (1 / f - 1 / factor) / (1 - 1 / factor);  // "smooth"
    n += 1, sum_x += x, sum_y += y, sum_xx += x * x, sum_xy += x * y;
  }
  const double determinant = n * sum_xx - sum_x * sum_x;
  if (n < 2 || !(determinant > 0)) return std::nullopt;
  const double slope = (n * sum_xy - sum_x * sum_y) / determinant;
  const double intercept = (sum_y - slope * sum_x) / n;  // -1 / (high - 1) with low = 1
  if (!(slope > 0) || !(intercept < 0)) return std::nullopt;
  const double width = -1 / intercept;
  return Parameters{factor, 1, 1 + width, slope * width};
}

}  // namespace

std::optional<Json> FitLlama3RopeScaling(std::span<const float> factors, double rope_theta) {
  if (factors.empty()) return std::nullopt;
  for (const float factor : factors) {
    if (!(factor > 0 && factor < 1e6f)) return std::nullopt;
  }
  const double factor = *std::max_element(factors.begin(), factors.end());
  // The published models first, so that they come back in round numbers: low 1, high 4, a power of
  // two.
  std::vector<Parameters> candidates;
  for (int64_t context = 32; context <= (1 << 20); context *= 2) {
    candidates.push_back({factor, 1, 4, static_cast<double>(context)});
  }
  if (const auto fitted = FitLine(factors, rope_theta, factor); fitted.has_value()) {
    candidates.push_back(*fitted);
    candidates.back().original_max_position = std::round(fitted->original_max_position);
  }
  for (const Parameters& p : candidates) {
    if (!(p.original_max_position >= 1 && p.original_max_position < 1e9)) continue;
    if (!Reproduces(p, factors, rope_theta)) continue;
    return Json{
        {"rope_type", "llama3"},
        {"factor", p.factor},
        {"low_freq_factor", p.low_freq_factor},
        {"high_freq_factor", p.high_freq_factor},
        {"original_max_position_embeddings", static_cast<int64_t>(p.original_max_position)}};
  }
  return std::nullopt;
}

}  // namespace bitdial::quant
