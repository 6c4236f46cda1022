#include "server/cli/load/summary.h"

#include <algorithm>

namespace bitdial::server {
namespace {

// Samples of one group, before they are distributions.
struct Samples {
  std::vector<double> ttft, inter_token, message_gap, tpot, end_to_end;

  void Add(const Outcome& outcome) {
    ttft.push_back(outcome.TtftS());
    end_to_end.push_back(outcome.EndToEndS());
    if (outcome.NumTokens() > 1) tpot.push_back(outcome.TpotS());
    for (size_t i = 1; i < outcome.messages.size(); ++i) {
      const TokenMessage& message = outcome.messages[i];
      const double gap_s = message.at_s - outcome.messages[i - 1].at_s;
      message_gap.push_back(gap_s);
      inter_token.insert(inter_token.end(), static_cast<size_t>(message.num_tokens),
                         gap_s / message.num_tokens);
    }
  }
  Latencies ToLatencies() && {
    return {MakeDistribution(std::move(ttft)), MakeDistribution(std::move(inter_token)),
            MakeDistribution(std::move(message_gap)), MakeDistribution(std::move(tpot)),
            MakeDistribution(std::move(end_to_end))};
  }
};

Group MakeGroup(const std::string& name, const std::vector<const Outcome*>& outcomes,
                const Slo& slo) {
  Group group;
  group.name = name;
  Samples samples;
  for (const Outcome* outcome : outcomes) {
    ++group.sent;
    if (outcome->ending != Ending::kOk) continue;
    ++group.ok;
    group.good += IsGood(*outcome, slo);
    samples.Add(*outcome);
  }
  group.latencies = std::move(samples).ToLatencies();
  return group;
}

void CountTrouble(const Outcome& outcome, std::vector<Trouble>& troubles) {
  for (Trouble& trouble : troubles) {
    if (trouble.ending == outcome.ending && trouble.code == outcome.code &&
        trouble.reason == outcome.reason) {
      ++trouble.count;
      return;
    }
  }
  troubles.push_back({outcome.ending, outcome.code, outcome.reason, 1, outcome.explanation});
}

// Everything that is counted by its moment, whoever's it is.
void CountRates(const LoadResult& result, const Slo& slo, Summary& summary) {
  int64_t answers = 0, good = 0, prompt_tokens = 0, output_tokens = 0;
  const auto is_inside = [&result](double at_s) {
    return at_s >= result.window_begin_s && at_s <= result.window_end_s;
  };
  for (const Outcome& outcome : result.outcomes) {
    if (!outcome.messages.empty() && is_inside(outcome.messages.front().at_s)) {
      prompt_tokens += outcome.request.prompt_tokens;
    }
    for (const TokenMessage& message : outcome.messages) {
      if (is_inside(message.at_s)) output_tokens += message.num_tokens;
    }
    if (outcome.ending != Ending::kOk || !is_inside(outcome.end_s)) continue;
    ++answers;
    good += IsGood(outcome, slo);
  }
  if (summary.window_s <= 0) return;
  const auto rate = [&summary](int64_t n) { return static_cast<double>(n) / summary.window_s; };
  summary.requests_per_s = rate(answers);
  summary.goodput_per_s = rate(good);
  summary.prompt_tokens_per_s = rate(prompt_tokens);
  summary.output_tokens_per_s = rate(output_tokens);
}

}  // namespace

bool IsGood(const Outcome& outcome, const Slo& slo) {
  return outcome.ending == Ending::kOk && (!slo.ttft_s || outcome.TtftS() <= *slo.ttft_s) &&
         (!slo.tpot_s || outcome.TpotS() <= *slo.tpot_s);
}

Summary Summarize(const LoadResult& result, const Slo& slo) {
  Summary summary;
  summary.window_s = std::max(0.0, result.window_end_s - result.window_begin_s);
  summary.is_interrupted = result.is_interrupted;
  summary.max_in_flight = result.max_in_flight;
  std::vector<const Outcome*> counted;
  std::vector<std::pair<std::string, std::vector<const Outcome*>>> by_bits;
  std::vector<double> reject_s, lateness_s;
  for (const Outcome& outcome : result.outcomes) {
    if (outcome.request.index < result.first_counted) continue;
    counted.push_back(&outcome);
    const std::string bits = ToText(outcome.request.bits);
    auto group = std::find_if(by_bits.begin(), by_bits.end(),
                              [&bits](const auto& entry) { return entry.first == bits; });
    if (group == by_bits.end()) group = by_bits.insert(group, {bits, {}});
    group->second.push_back(&outcome);
    ++summary.endings[static_cast<size_t>(outcome.ending)];
    if (outcome.ending != Ending::kOk) CountTrouble(outcome, summary.troubles);
    if (outcome.ending == Ending::kRejected) reject_s.push_back(outcome.end_s - outcome.sent_s);
    lateness_s.push_back(outcome.sent_s - outcome.request.arrival_s);
    if (!outcome.messages.empty()) summary.prompt_tokens += outcome.request.prompt_tokens;
    summary.cached_prompt_tokens += outcome.cached_prompt_tokens;
    summary.preemptions += outcome.preemptions;
    summary.output_tokens += outcome.NumTokens();
    for (const auto& [used, tokens] : outcome.tokens_by_bits) {
      summary.tokens_by_bits[used] += tokens;
    }
  }
  std::stable_sort(summary.troubles.begin(), summary.troubles.end(),
                   [](const Trouble& a, const Trouble& b) { return a.count > b.count; });
  summary.all = MakeGroup("all", counted, slo);
  for (const auto& [bits, outcomes] : by_bits) {
    summary.by_bits.push_back(MakeGroup(bits, outcomes, slo));
  }
  std::sort(summary.by_bits.begin(), summary.by_bits.end(),
            [](const Group& a, const Group& b) { return a.name < b.name; });
  summary.reject = MakeDistribution(std::move(reject_s));
  summary.lateness = MakeDistribution(std::move(lateness_s));
  CountRates(result, slo, summary);
  return summary;
}

const char* Name(Ending ending) {
  switch (ending) {
    case Ending::kOk:
      return "ok";
    case Ending::kRejected:
      return "rejected";
    case Ending::kFailed:
      return "failed";
    case Ending::kUnfinished:
      return "unfinished";
  }
  return "";
}

}  // namespace bitdial::server
